"""The list of jobs: filters from the URL, keyset pages on the id, and a bound on the search.

A filter without an index of its own looks at `WINDOW` jobs at a time, newest first, so that a
search for what is not there ends; the page offers to look further back.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import BinaryField, F, Func, Q, QuerySet, Value
from django.db.models.functions import Now

from dashboard.scope import Scope
from jobs.lookup import in_status
from jobs.models import Job, JobTag
from jobs.statuses import UNUSUAL, Status

PAGE = 50
WINDOW = 50_000
PREVIEW_BYTES = 160
_hex = re.compile(r"\A[0-9a-f]{4,32}\Z")


@dataclass(frozen=True)
class JobFilter:
    """What the list is narrowed to. Empty means: not by this."""

    status: str = ""
    queue: str = ""
    task: str = ""
    tag: str = ""
    text: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "JobFilter":
        """The filter that a URL asks for; a status that does not exist matches nothing."""
        given = {name: query.get(name, "").strip() for name in _FIELDS}
        return cls(**given | {"status": given["status"].upper()})

    def __bool__(self) -> bool:
        return any(self.as_dict().values())

    def as_dict(self) -> dict[str, str]:
        """Its fields by the names they have in the URL."""
        return {name: getattr(self, name) for name in _FIELDS}

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds the matches without looking at other jobs."""
        if self.queue or self.task or (self.text and not id_range(self.text)):
            return False
        return not self.status or self.status in {*UNUSUAL, Status.RUNNING} or bool(self.tag)

    def query_string(self, **changes: str) -> str:
        """The filter as a query string, with the changes."""
        merged = self.as_dict() | changes
        return urlencode({name: value for name, value in merged.items() if value})


_FIELDS = ("status", "queue", "task", "tag", "text")


@dataclass(frozen=True)
class JobPage:
    """A page of the list. `searched_to` is set if the search ended before the end of the jobs."""

    rows: list[Job]
    newer: uuid.UUID | None
    older: uuid.UUID | None
    searched_to: uuid.UUID | None


def page(scope: Scope, wanted: JobFilter, before: str = "", after: str = "") -> JobPage:
    """The newest matching jobs before an id, or the oldest ones after an id."""
    start, end = _as_id(before), _as_id(after)
    candidates = scope.jobs()
    if start:
        candidates = candidates.filter(pk__lt=start)
    floor = None if wanted.is_indexed or end else _floor(candidates)
    if floor:
        candidates = candidates.filter(pk__gte=floor)
    found = _for_list(_matching(scope, candidates, wanted))
    if end:
        return _page_after(found, end)
    rows = list(found.order_by("-pk")[: PAGE + 1])
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    return JobPage(
        rows=rows,
        newer=rows[0].pk if start and rows else None,
        older=rows[-1].pk if more else None,
        searched_to=floor if floor and not more else None,
    )


def _page_after(found: QuerySet[Job], end: uuid.UUID) -> JobPage:
    rows = list(found.filter(pk__gt=end).order_by("pk")[: PAGE + 1])
    more = len(rows) > PAGE
    rows = rows[:PAGE][::-1]
    return JobPage(
        rows=rows,
        newer=rows[0].pk if more else None,
        older=rows[-1].pk if rows else None,
        searched_to=None,
    )


def _floor(candidates: QuerySet[Job]) -> uuid.UUID | None:
    """The id at which the window ends, None if there are fewer jobs."""
    ids = candidates.order_by("-pk").values_list("pk", flat=True)
    return next(iter(ids[WINDOW : WINDOW + 1]), None)


def _matching(scope: Scope, candidates: QuerySet[Job], wanted: JobFilter) -> QuerySet[Job]:
    """The candidates that match the filter."""
    found = candidates
    if wanted.status:
        found = in_status(found, wanted.status)
    if wanted.queue:
        found = found.filter(queue=wanted.queue)
    if wanted.task:
        found = found.filter(task=wanted.task)
    if wanted.tag:
        tagged = JobTag.objects.filter(tenant_id__in=scope.ids, tag=wanted.tag)
        found = found.filter(pk__in=tagged.values("job_id"))
    return found.filter(_text(wanted.text)) if wanted.text else found


def _text(text: str) -> Q:
    """By the beginning of an id, otherwise by a part of task, queue or error, or the whole key."""
    if ids := id_range(text):
        return Q(pk__range=ids)
    return (
        Q(task__icontains=text)
        | Q(queue__icontains=text)
        | Q(error_type__icontains=text)
        | Q(idempotency_key=text)
    )


def id_range(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """The first and last id that begin like the text, None if it is not the beginning of one."""
    digits = text.replace("-", "").lower()
    if not _hex.match(digits):
        return None
    return uuid.UUID(hex=digits.ljust(32, "0")), uuid.UUID(hex=digits.ljust(32, "f"))


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
