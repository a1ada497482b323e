"""Filters of jobs: the parameters that are short for one, and the jobs that match.

A time narrows by the id as well, which begins with one: so the search is a walk along an index.
"""

import operator
import re
import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import reduce
from typing import Any
from urllib.parse import quote

from django.db.models import Exists, OuterRef, Q, QuerySet

from jobs.errors import InvalidInput
from jobs.fields import moment
from jobs.filters import (
    FREE_TEXT,
    MAX_CHARACTERS,
    MAX_ENCODED,
    MAX_TERMS,
    NUMBERS,
    TIMES,
    Filter,
    Reader,
    Term,
    ids_beginning_with,
    name,
    parse,
    short_line,
    status,
)
from jobs.fingerprint import SEALED, pattern
from jobs.lookup import in_status
from jobs.models import Job, JobTag, Tenant
from jobs.uuid7 import first_id

_BEGINNING_OF_ID = re.compile(r"\A[0-9a-f]{8,32}\Z", re.IGNORECASE)
WITHHELD = "…"
CLOCKS_AGREE_WITHIN = timedelta(minutes=1)
"""Ids carry the time of the process that made them, which follows the database's (`uuid7`)."""


def written(value: str) -> Filter:
    """A filter that somebody wrote. Raises `InvalidInput`."""
    if len(value) > MAX_CHARACTERS:
        raise InvalidInput(f"may have {MAX_CHARACTERS} characters.", code="invalid_filter")
    if len(quote(value, safe="", errors="replace")) > MAX_ENCODED:
        raise InvalidInput(
            f"may have {MAX_ENCODED} bytes in an address, where a letter beyond ASCII has 6 to 12.",
            code="invalid_filter",
        )
    wanted = parse(value)
    if len(wanted.terms) > MAX_TERMS:
        raise InvalidInput(f"has more than {MAX_TERMS} conditions.", code="invalid_filter")
    return wanted


def _term(word: str, reader: Reader, comparison: str = "") -> Reader:
    return lambda value: Filter((Term(word, (reader(value),), comparison),))


def _statuses(value: str) -> Filter:
    return Filter((Term("status", tuple(status(one) for one in value.split(","))),))


JOB_FILTERS: Mapping[str, Reader] = {
    "filter": written,
    "status": _statuses,
    "queue": _term("queue", name),
    "task": _term("task", name),
    "tag": _term("tag", name),
    "created_after": _term("created", moment, ">"),
    "created_before": _term("created", moment, "<"),
}
DEAD_LETTER_FILTERS: Mapping[str, Reader] = {
    "filter": written,
    "queue": _term("queue", name),
    "task": _term("task", name),
    "error_type": _term("error_type", short_line),
}
"""Parameters of lists, each with what reads it into a `Filter`."""


def read_parameter(name: str, value: str, reader: Reader) -> Any:
    """The parameter's value. Raises `InvalidInput` that names it."""
    try:
        return reader(value)
    except InvalidInput as error:
        raise InvalidInput(f"{name} {error.detail}", code=error.field_code) from None


def all_of(filters: Mapping[str, Filter]) -> Filter:
    """What all of the parameters ask for together."""
    return reduce(operator.and_, filters.values(), Filter())


def filtered(
    jobs: QuerySet[Job], tenant: Tenant | None, wanted: Filter, *, one_by_one: bool = False
) -> QuerySet[Job]:
    """The jobs that match; `tenant` is whose they are, None for anybody's. Ages must be settled.

    `one_by_one`: each is asked whether it does, as is best where these jobs are few.
    """
    for term in wanted.terms:
        if term.word == "status" and not term.is_negated:
            jobs = in_status(jobs, *term.values)
        else:
            is_asked = term.word == "tag" and (one_by_one or term.is_negated)
            condition = _has_tag(term) if is_asked else _condition(term, tenant)
            jobs = jobs.filter(~condition & _is_known(term) if term.is_negated else condition)
    return jobs if one_by_one else _between(jobs, *ids_of_those_times(wanted))


def _between(
    jobs: QuerySet[Job], lowest: uuid.UUID | None, highest: uuid.UUID | None
) -> QuerySet[Job]:
    jobs = jobs.filter(pk__gt=lowest) if lowest else jobs
    return jobs.filter(pk__lt=highest) if highest else jobs


def _is_known(term: Term) -> Q:
    """The jobs of which it is known whether they match: not of encrypted messages, what they say.

    Those are found by neither a text nor its negation: an action on all but some jobs spares them.
    """
    return ~Q(error_message__startswith=SEALED) if term.word in _SEARCH_MESSAGES else Q()


def searches_messages(wanted: Filter) -> bool:
    """Whether what matches depends on what errors say, beyond their types."""
    return any(
        term.word in _SEARCH_MESSAGES
        and not (term.word == FREE_TEXT and all(_is_id(value) for value in term.values))
        for term in wanted.terms
    )


def without_messages(text: str) -> str:
    """The text of a filter for who may not know what errors say: of words about that, no values.

    Nothing of a text that cannot be read, as the audit log keeps the beginnings of long ones.
    """
    try:
        terms = parse(text).terms
    except InvalidInput:
        return WITHHELD
    return " ".join(map(_without_messages, terms))


def _without_messages(term: Term) -> str:
    if not searches_messages(Filter((term,))):
        return term.source
    word = "" if term.word == FREE_TEXT else f"{term.word}:"
    return f"{'-' * term.is_negated}{word}{WITHHELD}"


def finds_by_index(term: Term) -> bool:
    """Whether jobs that match are found without looking at others; not asked about a status."""
    if term.is_negated:
        return False
    if term.word == FREE_TEXT:
        return all(_is_id(value) for value in term.values)
    return term.word in {"tag", "id", "key"}


def ids_of_those_times(wanted: Filter) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Between which ids, without these, jobs are of the times of creation that are wanted.

    There are some others between them; None where no time is a bound.
    """
    terms = [x for x in wanted.terms if x.word == "created" and x.comparison and not x.is_negated]
    after = [x.values[0] for x in terms if ">" in x.comparison]
    before = [x.values[0] for x in terms if "<" in x.comparison]
    lowest = _first_id(max(after), -CLOCKS_AGREE_WITHIN) if after else None
    return lowest, _first_id(min(before), CLOCKS_AGREE_WITHIN) if before else None


_COLUMNS = {
    "error_type": "error_type",
    "queue": "queue",
    "task": "task",
    "status": "status",
    "priority": "priority",
    "attempt": "attempt",
    "created": "created_at",
    "run_at": "run_at",
    "finished": "finished_at",
}
_SEARCH_MESSAGES = {"error", "message", FREE_TEXT}
_LOOKUPS = {">": "gt", "<": "lt", ">=": "gte", "<=": "lte"}


def _condition(term: Term, tenant: Tenant | None) -> Q:
    match term.word:
        case "tag":
            return _tagged(term, tenant)
        case "key":
            return _with_key(term, tenant)
        case "id":
            return _with_ids(term.values)
        case "error":
            return _any_of(_error, term)
        case "message":
            return _any_of(lambda kind: Q(error_message__regex=pattern(kind)), term)
        case "worker":
            return _any_of(lambda worker: Q(worker__istartswith=worker), term)
        case word if word == FREE_TEXT:
            return _any_of(_text, term)
        case word if word in NUMBERS | TIMES and term.comparison:
            return _compared(term)
        case word:
            return Q(**{f"{_COLUMNS[word]}__in": term.values})


def _any_of(condition: Any, term: Term) -> Q:
    return reduce(operator.or_, map(condition, term.values))


def tags_of(tenant_ids: Collection[int], term: Term) -> QuerySet[JobTag]:
    """The tags that the term names, on jobs of these tenants, with whom their index begins."""
    return JobTag.objects.filter(tenant_id__in=tenant_ids, tag__in=term.values).order_by()


def _tagged(term: Term, tenant: Tenant | None) -> Q:
    return Q(pk__in=tags_of(_owners(tenant), term).values("job_id"))


def _has_tag(term: Term) -> Q:
    """Asked of each job: a list of all that have a common tag is long."""
    own = JobTag.objects.filter(tenant_id=OuterRef("tenant_id"), job_id=OuterRef("pk"))
    return Q(Exists(own.filter(tag__in=term.values)))


def _with_key(term: Term, tenant: Tenant | None) -> Q:
    jobs = Job.objects.filter(tenant_id__in=_owners(tenant), idempotency_key__in=term.values)
    return Q(pk__in=jobs.order_by().values("pk"))


def _owners(tenant: Tenant | None) -> Any:
    """Whose jobs are meant, for the indexes that begin with that."""
    return Tenant.objects.order_by().values("pk") if tenant is None else [tenant.pk]


def _with_ids(ranges: Collection[tuple[uuid.UUID, uuid.UUID]]) -> Q:
    whole = Q(pk__in=[first for first, last in ranges if first == last])
    return reduce(operator.or_, (Q(pk__range=r) for r in ranges if r[0] != r[1]), whole)


def _error(part: str) -> Q:
    """Of an encrypted message nothing is found: what is stored of it has no meaning."""
    message = Q(error_message__icontains=part) & ~Q(error_message__startswith=SEALED)
    return Q(error_type__icontains=part) | message


def _is_id(text: str) -> bool:
    return bool(_BEGINNING_OF_ID.match(text.replace("-", "")))


def _text(part: str) -> Q:
    """By the beginning of an id, otherwise by a part of task, queue or error, or the whole key."""
    if _is_id(part):
        return _with_ids([ids_beginning_with(part)])
    names = Q(task__icontains=part) | Q(queue__icontains=part) | Q(idempotency_key=part)
    return names | _error(part)


def _compared(term: Term) -> Q:
    (value,) = term.values
    return Q(**{f"{_COLUMNS[term.word]}__{_LOOKUPS[term.comparison]}": value})


def _first_id(moment: datetime, away: timedelta) -> uuid.UUID:
    """The lowest id so far from that moment: a time bounds a walk along the primary key.

    Counted in numbers, because the sum may be a time that a `datetime` cannot hold.
    """
    return first_id(moment.timestamp() + away.total_seconds())
