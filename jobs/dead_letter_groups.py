"""Dead letters, grouped by what went wrong: task, type of the error, fingerprint of its message."""

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from jobs.encryption import is_sealed
from jobs.filters import spelled
from jobs.fingerprint import LOOKED_AT, fingerprint
from jobs.models import Job
from jobs.store.dialect import as_uuid

GROUPED = 5_000
"""Pages group so many dead letters: the newest."""


class Row(NamedTuple):
    """A dead letter with the first `LOOKED_AT` characters of its message, as it is stored.

    When it died is in microseconds since 1970.
    """

    id: Any
    task: str
    error_type: str
    message: str
    died: int


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


def grouped(
    newest: Iterable[Row], *, tells_messages: bool, at_most: int
) -> tuple[list[Group], int]:
    """The largest groups of these dead letters, and how many groups there are.

    Who may not read what errors say has them grouped without that.
    """
    found: dict[tuple[str, str, str | None], list[Row]] = defaultdict(list)
    for row in newest:
        kind = _kind(row.message) if tells_messages else None
        found[row.task, row.error_type, kind].append(row)
    by_size = sorted(found.items(), key=lambda one: (-len(one[1]), [*map(str, one[0])]))
    largest = [_group(*key, its) for key, its in by_size[:at_most]]
    _open_messages(largest)
    return largest, len(found)


_NUMBERS = re.compile("[0-9]+")


def _kind(message: str) -> str:
    """The fingerprint: the same for all numbers, unless the message may end in the midst of one."""
    if len(message) == LOOKED_AT:
        return fingerprint(message)
    return _kind_without_numbers(_NUMBERS.sub("0", message))


@lru_cache(10_000)
def _kind_without_numbers(message: str) -> str:
    return fingerprint(message)


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


def _open_messages(groups: Sequence[Group]) -> None:
    """Let those that are shown tell the message of their sample, where that is encrypted."""
    samples = [group.sample for group in groups if is_sealed(group.message)]
    opened = Job.objects.only("tenant_id", "error_message").in_bulk(samples) if samples else {}
    for group in groups:
        if job := opened.get(group.sample):
            group.message = job.error_message[:LOOKED_AT]
