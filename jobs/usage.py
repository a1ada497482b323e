"""What a tenant used in a time: sums of what was counted, by minutes, hours or days.

There are no minutes of long ago (`jobs/store/minutes.py`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from jobs.errors import InvalidInput
from jobs.figures import COUNTS
from jobs.instants import instant
from jobs.models import Lane, Tenant
from jobs.store import minutes
from jobs.store.clock import now
from jobs.store.minutes import Length, read_counts

MAX_STEPS = 1_500
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LONGEST_WAIT = "max_wait_seconds"
SECONDS = ("run_seconds", "wait_seconds")
USED = (*COUNTS, *SECONDS, LONGEST_WAIT)


class Step(StrEnum):
    """How finely usage is told."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


LENGTHS = {step: timedelta(seconds=Length[step.name]) for step in Step}
USUAL = {
    Step.MINUTE: timedelta(hours=1),
    Step.HOUR: timedelta(days=1),
    Step.DAY: timedelta(days=30),
}
"""How far back usage is told, where nobody says."""
KEPT = {step: minutes.KEPT.get(Length[step.name]) for step in Step}
"""How long there are counts for each step; None for ever."""


@dataclass(frozen=True)
class Usage:
    """Sums of a time that begins and ends with a step; steps without any are left out."""

    start: datetime
    end: datetime
    steps: list[dict[str, Any]]
    total: dict[str, Any]


def usage(
    tenant: Tenant,
    step: Step,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    queues: Sequence[str] = (),
) -> Usage:
    """What was used from one time to another, whole steps of it; of all queues if none is named.

    The step that an end is in is none of it, so that what follows can begin there. By default the
    step under way is the last one, and it goes so far back as is usual. Raises `InvalidInput` for
    more than `MAX_STEPS`, for steps finer than what is kept, and for times before `EARLIEST`.
    """
    _refuse_before_earliest(start, end)
    until = end or now()
    start = _floor(start or until - USUAL[step], step)
    end = _floor(until, step) + (timedelta() if end else LENGTHS[step])
    _refuse_too_many(start, end, step)
    _refuse_too_old(start, step)
    lanes = Lane.objects.filter(tenant=tenant, queue__in=queues).values_list("pk", flat=True)
    length = Length[step.name]
    of_queues = list(lanes) if queues else None
    found = read_counts("minute", USED, length, [tenant.pk], start, end, lane_ids=of_queues)
    steps: dict[int, list[Sequence[float]]] = defaultdict(list)
    for at, figures in found.items():
        steps[at - at % length].append(figures)
    shown = [{"at": datetime.fromtimestamp(at, UTC), **_sums(steps[at])} for at in sorted(steps)]
    return Usage(start, end, shown, _sums(list(found.values())))


def _sums(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    columns = zip(*rows, strict=True) if rows else [[]] * len(USED)
    *figures, waits = zip(USED, columns, strict=True)
    return {
        **{name: sum(column) if name in COUNTS else sum(column, 0.0) for name, column in figures},
        LONGEST_WAIT: max(waits[1], default=0.0),
    }


def _floor(moment: datetime, step: Step) -> datetime:
    """The beginning of the step that the moment is in."""
    moment = moment.astimezone(UTC).replace(second=0, microsecond=0)
    if step is not Step.MINUTE:
        moment = moment.replace(minute=0)
    return moment.replace(hour=0) if step is Step.DAY else moment


def _refuse_before_earliest(*times: datetime | None) -> None:
    if any(time is not None and time < EARLIEST for time in times):
        raise InvalidInput(f"There is no usage before {instant(EARLIEST)}.", code="out_of_range")


def _refuse_too_many(start: datetime, end: datetime, step: Step) -> None:
    if end - start > MAX_STEPS * LENGTHS[step]:
        raise InvalidInput(
            f"One answer has {MAX_STEPS} steps at most; ask for a shorter time or longer steps.",
            code="out_of_range",
        )


def _refuse_too_old(start: datetime, step: Step) -> None:
    kept = KEPT[step]
    if kept is not None and start < now() - kept:
        raise InvalidInput(
            f"There are {step}s since {instant(now() - kept)}; ask for longer steps.",
            code="out_of_range",
        )
