"""Dead letters, grouped by what went wrong: task, type of the error, fingerprint of its message."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from zlib import crc32

from django.db.models import QuerySet
from django.db.models.functions import Left, Now

from dashboard.queries.counts import Count
from dashboard.scope import PageScope
from jobs.encryption import is_sealed
from jobs.filters import spelled
from jobs.fingerprint import LOOKED_AT, fingerprint
from jobs.lookup import in_status
from jobs.models import Job
from jobs.statuses import Status
from jobs.store.dialect import fewest_rows

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
    total: int = 0

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

    def add(self, died: datetime) -> None:
        """Count one that died then."""
        self.total += 1
        self.first_at, self.last_at = min(self.first_at, died), max(self.last_at, died)


class Groups(NamedTuple):
    """The largest groups; all counts are capped if more dead letters than these were there."""

    largest: list[tuple[Group, Count]]
    kinds: int
    is_capped: bool


def dead_letters(scope: PageScope) -> QuerySet[Job]:
    """The dead letters in scope, newest first."""
    return in_status(scope.jobs(), Status.DLQ).order_by("-pk")


def groups(scope: PageScope) -> Groups:
    """The newest dead letters by what went wrong; by its type alone where no more may be read."""
    wanted = dead_letters(scope).values_list(
        "task", "error_type", Left("error_message", LOOKED_AT), "finished_at", "pk"
    )
    with fewest_rows():
        rows = list(wanted[: GROUPED + 1])
    found: dict[tuple[str, str, str | None], Group] = {}
    counted = 0
    for counted, (task, error_type, message, died, pk) in enumerate(rows, 1):
        if counted > GROUPED:
            break
        told = message if scope.is_readable else ""
        key = task, error_type, fingerprint(told) if scope.is_readable else None
        if key not in found:
            found[key] = Group(*key, sample=pk, message=told, first_at=died, last_at=died)
        found[key].add(died)
    largest = sorted(found.values(), key=lambda group: (-group.total, group.filter))[:SHOWN]
    _open_messages(largest)
    is_capped = counted > GROUPED
    return Groups([(one, Count(one.total, is_capped)) for one in largest], len(found), is_capped)


def _open_messages(groups: Sequence[Group]) -> None:
    """Let those that are shown tell the message of their sample, where that is encrypted."""
    samples = [group.sample for group in groups if is_sealed(group.message)]
    opened = Job.objects.only("tenant_id", "error_message").in_bulk(samples) if samples else {}
    for group in groups:
        if job := opened.get(group.sample):
            group.message = job.error_message[:LOOKED_AT]


def listed(scope: PageScope) -> list[Any]:
    """The newest dead letters, each with `now`."""
    found = dead_letters(scope).defer("payload", "result")
    with fewest_rows():
        return list(found.annotate(now=Now())[:LISTED])
