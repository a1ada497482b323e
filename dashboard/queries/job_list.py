"""The list of jobs: a filter from the URL, keyset pages on the id, and a bound on the search."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import BinaryField, F, Func, QuerySet, Value
from django.db.models.functions import Length, Now

from dashboard.queries.counts import Count
from dashboard.scope import PageScope
from jobs.encryption import is_sealed
from jobs.errors import InvalidInput
from jobs.filters import Filter, Term
from jobs.job_filters import searches_messages, written
from jobs.job_search import Found, Search
from jobs.models import Job
from jobs.statuses import ACTED_ON, BulkAction, Status

PAGE = 50
STEPS = 5
SEARCHING_SECONDS = 0.1
"""So many steps of a search are taken at once, none after so long; a page offers to look further.
"""
COUNTED = 1_000
"""So many matches of a status are counted."""
COUNTED_LAST = (Status.PENDING, Status.DONE)
"""Among these, the most jobs are to be looked at."""
PREVIEW_BYTES = 160
MAX_OPENED_BYTES = 10_000
"""Larger payloads are not opened for their beginning, where they are encrypted."""


def written_for(scope: PageScope, text: str) -> Filter:
    """A filter that the user wrote. Raises `InvalidInput`, also for what would find out messages.

    The messages of errors have parts of payloads in them, so they are for those who read these.
    """
    wanted = written(text)
    if searches_messages(wanted) and not scope.is_readable:
        raise InvalidInput(
            "searches what errors say, which needs the right to see payloads; "
            "write task:, queue:, error_type:, key: or id: instead.",
            code="invalid_filter",
        )
    return wanted


@dataclass(frozen=True)
class Asked:
    """The filter that was typed. `error` says why it cannot be read, and what to write instead."""

    text: str
    filter: Filter = field(default_factory=Filter)
    error: str = ""

    @classmethod
    def from_query(cls, scope: PageScope, query: Mapping[str, str]) -> "Asked":
        """What a URL asks for, as far as the user may."""
        text = query.get("filter", "").strip()
        try:
            return cls(text, written_for(scope, text))
        except InvalidInput as error:
            return cls(text, error=f"The filter {error.detail}")

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def chips(self) -> list[tuple[Term, str]]:
        """Its terms, each with the filter that is left without it."""
        terms = self.filter.terms
        return [(term, _joined(terms[:at] + terms[at + 1 :])) for at, term in enumerate(terms)]

    @property
    def actions(self) -> list[BulkAction]:
        """What can be done to all that match, as with a single job."""
        if not self.filter:
            return []
        return [action for action, its in ACTED_ON.items() if its & self.filter.statuses]

    @property
    def facets(self) -> dict[str, str]:
        """For each status, and for none: the filter with that instead of its own."""
        rest = _joined(self.rest.terms)
        chosen = {status.value: f"status:{status}" for status in Status} | {"": ""}
        return {status: " ".join(filter(None, [one, rest])) for status, one in chosen.items()}

    @property
    def rest(self) -> Filter:
        """What it asks for beside statuses."""
        return Filter(tuple(term for term in self.filter.terms if term.word != "status"))

    @property
    def facet(self) -> str | None:
        """The one status that it is about, nothing for any, None for several."""
        left = self.filter.statuses
        if len(left) == len(Status):
            return ""
        return next(iter(left)) if len(left) == 1 else None


def _joined(terms: Sequence[Term]) -> str:
    return " ".join(term.source for term in terms)


@dataclass(frozen=True)
class JobPage:
    """A page of the list. `searched_to` is set if the search ended before the end of the jobs."""

    rows: Sequence[Job] = ()
    newer: uuid.UUID | None = None
    older: uuid.UUID | None = None
    searched_to: uuid.UUID | None = None


def counted(scope: PageScope, rest: Filter, *, until: float) -> dict[Status, Count | None] | None:
    """How many jobs of each status match the rest of a filter; None where a look found none yet.

    None of all where it would be about several tenants. There is no look after `until`, a time by
    `time.monotonic`.
    """
    if len(scope.searched) > 1 or scope.searched[0] is None:
        return None
    found: dict[Status, Count | None] = dict.fromkeys(Status)
    for status in sorted(Status, key=COUNTED_LAST.count):
        if time.monotonic() > until:
            break
        search = Search(scope.searched[0], rest & Filter((Term("status", (status,)),)))
        step = search.step(None, size=COUNTED)
        if step.ids or step.rest is None:
            found[status] = Count(len(step.ids), step.rest is not None)
    return found


def page(scope: PageScope, wanted: Filter, before: str = "", after: str = "") -> JobPage:
    """The newest matching jobs before an id, or the oldest ones after an id."""
    start, end = _as_id(before), _as_id(after)
    if end:
        found = _search(scope, wanted, end, oldest_first=True)
        rows = rows_of(scope, found.ids)
        return JobPage(rows, newer=found.rest, older=rows[-1].pk if rows else None)
    found = _search(scope, wanted, start, oldest_first=False)
    rows = rows_of(scope, found.ids)
    is_full = len(found.ids) == PAGE
    return JobPage(
        rows,
        newer=rows[0].pk if start and rows else None,
        older=found.rest if is_full else None,
        searched_to=None if is_full else found.rest,
    )


def rows_of(scope: PageScope, ids: Sequence[uuid.UUID]) -> list[Job]:
    """The jobs of these ids, newest first, with `now`, and `preview` instead of the payload."""
    rows: list[Any] = list(_for_list(scope.jobs().filter(pk__in=ids)).order_by("-pk"))
    _open_previews([job for job in rows if is_sealed(job.preview)])
    return rows


def _open_previews(jobs: Sequence[Any]) -> None:
    """The beginning of an encrypted payload can only be told by who reads all of it."""
    if not jobs:
        return
    short = Job.objects.annotate(stored=Length("payload")).filter(stored__lte=MAX_OPENED_BYTES)
    opened = short.only("tenant_id", "payload").in_bulk([job.pk for job in jobs])
    for job in jobs:
        payload = opened[job.pk].payload if job.pk in opened else b"(encrypted)"
        job.preview = bytes(payload)[:PREVIEW_BYTES]


def _search(
    scope: PageScope, wanted: Filter, after: uuid.UUID | None, *, oldest_first: bool
) -> Found:
    """The matches of a page, and where to go on; None at the end of the jobs."""
    searches = [Search(one, wanted, oldest_first=oldest_first) for one in scope.searched]
    ids: list[uuid.UUID] = []
    until = time.monotonic() + SEARCHING_SECONDS
    for _ in range(STEPS):
        found, after = _step(searches, after, PAGE - len(ids))
        ids += found
        if after is None or len(ids) == PAGE or time.monotonic() > until:
            break
    return Found(ids, after)


def _step(searches: Sequence[Search], after: uuid.UUID | None, size: int) -> Found:
    """A step of several searches: as far as all of them came."""
    oldest_first = searches[0].oldest_first
    steps = [search.step(after, size=size) for search in searches]
    rests = [step.rest for step in steps if step.rest is not None]
    edge = (min if oldest_first else max)(rests, default=None)
    ids = sorted((one for step in steps for one in step.ids), reverse=not oldest_first)
    if edge is not None:
        ids = [one for one in ids if (one <= edge if oldest_first else one >= edge)]
    return Found(ids[:size], ids[size - 1]) if len(ids) > size else Found(ids, edge)


def _for_list(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """With `now`, and the beginning of the payload instead of all of it."""
    start = Func(
        F("payload"), Value(1), Value(PREVIEW_BYTES), function="SUBSTR", output_field=BinaryField()
    )
    return jobs.defer("payload", "result").annotate(now=Now(), preview=start)


def _as_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
