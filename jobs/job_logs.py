"""What a job's attempts have logged, read in order and in pages."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from jobs.errors import InvalidInput
from jobs.instants import instant
from jobs.models import Job, LogLine
from jobs.store.log_lines import LEVELS

_ID = re.compile(r"\A([0-9]{1,18})-([0-9]{1,9})\Z", re.ASCII)
_NAMES: Mapping[int, str] = {number: name for name, number in LEVELS.items()}


class Place(NamedTuple):
    """Where a line stands among those of its job."""

    fence: int
    number: int

    def __str__(self) -> str:
        return f"{self.fence}-{self.number}"


def read_place(text: str) -> Place:
    """The place that the id of a line names. Raises `InvalidInput`."""
    found = _ID.match(text)
    if not found:
        raise InvalidInput("must be the id of a log line, such as 3-17.", code="invalid_cursor")
    return Place(*map(int, found.groups()))


def place_of(line: LogLine) -> Place:
    """Where the line stands."""
    return Place(line.fence, line.number)


def log_of(
    job: Job, *, attempt: int | None = None, after: Place | None = None
) -> QuerySet[LogLine]:
    """The lines of the job, or of one of its attempts, in order; those behind a place."""
    lines = LogLine.objects.filter(job_id=job.pk).order_by("fence", "number")
    if attempt is not None:
        lines = lines.filter(attempt=attempt)
    if after is not None:
        later = Q(fence__gt=after.fence) | Q(fence=after.fence, number__gt=after.number)
        lines = lines.filter(later, fence__gte=after.fence)
    return lines


def level_name(level: int) -> str:
    """`debug`, `info`, `warning`, `error` or `critical`."""
    return _NAMES[level]


def line_as_json(line: LogLine) -> dict[str, Any]:
    """A line as REST and commands tell it."""
    return {
        "id": str(place_of(line)),
        "attempt": line.attempt,
        "number": line.number,
        "at": instant(line.at),
        "level": level_name(line.level),
        "logger": line.logger,
        "message": line.message,
    }
