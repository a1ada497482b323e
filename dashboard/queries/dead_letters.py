"""Dead letters, grouped by what went wrong: task, type of the error, fingerprint of its message."""

import re
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from django.db.models.functions import Now

from dashboard.queries.counts import Count
from dashboard.scope import PageScope
from jobs.encryption import is_sealed
from jobs.filters import spelled
from jobs.fingerprint import LOOKED_AT, fingerprint
from jobs.models import Job
from jobs.statuses import UNUSUAL, Status
from jobs.store.dialect import BY_TENANT, as_uuid, fetch, is_postgresql

GROUPED = 10_000
"""So many of the newest dead letters are grouped."""
SHOWN = 100
LISTED = 50


@dataclass
class Group:
    """Dead letters of one kind; `sample` and `message` are of the newest.

    `kind` is None, and `message` empty, for who may not read what errors say.
    """

    task: str
    error_type: str
    kind: str | None
    sample: uuid.UUID
    message: str
    first_at: datetime
    last_at: datetime
    total: int

    @property
    def key(self) -> str:
        """What tells it from the others on a page."""
        return f"{crc32(self.filter.encode()):08x}"

    @property
    def shown_kind(self) -> str:
        """What its messages have in common, in words, also where they are stored encrypted."""
        return fingerprint(self.message)

    @property
    def filter(self) -> str:
        """What finds all of its dead letters, also those that were not counted."""
        terms = {"task": self.task, "error_type": self.error_type}
        terms |= {} if self.kind is None else {"message": self.kind}
        return " ".join(["status:DLQ", *(spelled(word, value) for word, value in terms.items())])


class Row(NamedTuple):
    """A dead letter, as the database's driver reads it; when it died is in microseconds."""

    id: Any
    task: str
    error_type: str
    message: str
    died: int


# Past the ORM: it would make a time and an id of each row, which takes longer than all the rest.
_FIRST = " ORDER BY id DESC LIMIT %(limit)s"
_OF_ALL = f"status = '{Status.DLQ}'"
_OF_TENANT = f"""tenant_id = %(tenant_{{}})s AND status = '{Status.DLQ}'
    AND status IN ({", ".join(f"'{status}'" for status in UNUSUAL)})"""
_NEWEST = f"""
SELECT id, task, error_type, substr(error_message, 1, {LOOKED_AT}) AS message,
    MICROSECONDS(finished_at) AS died
FROM jobs_job WHERE {{whose}}{_FIRST}"""
_NUMBERS = re.compile("[0-9]+")


class Groups(NamedTuple):
    """The largest groups; all counts are capped if more dead letters than these were there."""

    largest: list[tuple[Group, Count]]
    kinds: int
    is_capped: bool


def newest(scope: PageScope) -> list[Row]:
    """The newest dead letters in scope, newest first: those of each tenant are in that order."""
    asked: dict[str, Any] = {"limit": GROUPED + 1}
    parts = []
    for number, tenant in enumerate(scope.searched):
        asked[f"tenant_{number}"] = tenant and tenant.pk
        parts.append(_NEWEST.format(whose=_OF_TENANT.format(number) if tenant else _OF_ALL))
    several = " UNION ALL ".join(f"SELECT * FROM ({part}) AS own" for part in parts)
    statement = f"{several}{_FIRST}" if len(parts) > 1 else parts[0]
    rows = fetch(statement, asked, before=[BY_TENANT] if is_postgresql() else [])
    return list(map(Row._make, rows))


def groups(scope: PageScope, rows: Sequence[Row]) -> Groups:
    """The newest dead letters by what went wrong; by its type alone where no more may be read."""
    found: dict[tuple[str, str, str | None], list[Row]] = defaultdict(list)
    for row in rows[:GROUPED]:
        kind = _kind(row.message) if scope.is_readable else None
        found[row.task, row.error_type, kind].append(row)
    is_capped = len(rows) > GROUPED
    by_size = sorted(found.items(), key=lambda item: (-len(item[1]), *map(str, item[0])))
    largest = [_group(*key, its) for key, its in by_size[:SHOWN]]
    _open_messages(largest)
    return Groups([(one, Count(one.total, is_capped)) for one in largest], len(found), is_capped)


def _group(task: str, error_type: str, kind: str | None, rows: Sequence[Row]) -> Group:
    """The group of these dead letters, of which the newest is the first."""
    return Group(
        task,
        error_type,
        kind,
        sample=as_uuid(rows[0].id),
        message="" if kind is None else rows[0].message,
        first_at=_time(min(row.died for row in rows)),
        last_at=_time(max(row.died for row in rows)),
        total=len(rows),
    )


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _kind(message: str) -> str:
    """The fingerprint: the same for all numbers, unless the message may end in the midst of one."""
    if len(message) == LOOKED_AT:
        return fingerprint(message)
    return _kind_without_numbers(_NUMBERS.sub("0", message))


@lru_cache(10_000)
def _kind_without_numbers(message: str) -> str:
    return fingerprint(message)


def _open_messages(groups: Sequence[Group]) -> None:
    """Let those that are shown tell the message of their sample, where that is encrypted."""
    samples = [group.sample for group in groups if is_sealed(group.message)]
    opened = Job.objects.only("tenant_id", "error_message").in_bulk(samples) if samples else {}
    for group in groups:
        if job := opened.get(group.sample):
            group.message = job.error_message[:LOOKED_AT]


def listed(rows: Sequence[Row]) -> list[Any]:
    """The first of these dead letters, each with `now`."""
    ids = [as_uuid(row.id) for row in rows[:LISTED]]
    found = Job.objects.filter(pk__in=ids).defer("payload", "result").annotate(now=Now())
    return list(found.order_by("-pk"))
