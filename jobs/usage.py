"""What a tenant used in a time: sums of what was counted, by minutes, hours or days.

As old counts are added up (`jobs/store/minutes.py`), there are no minutes of long ago.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Max, QuerySet, Sum
from django.db.models.functions import Trunc

from jobs.errors import InvalidInput
from jobs.figures import COUNTS
from jobs.instants import instant
from jobs.models import Lane, LaneMinute, Tenant
from jobs.store.clock import now
from jobs.store.minutes import PERIODS

MAX_STEPS = 1_500
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
SECONDS = ("run_seconds", "wait_seconds")


class Step(StrEnum):
    """How finely usage is told."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


LENGTHS = {
    Step.MINUTE: timedelta(minutes=1),
    Step.HOUR: timedelta(hours=1),
    Step.DAY: timedelta(days=1),
}
USUAL = {
    Step.MINUTE: timedelta(hours=1),
    Step.HOUR: timedelta(days=1),
    Step.DAY: timedelta(days=30),
}
"""How far back usage is told, where nobody says."""
KEPT = dict(zip(Step, [*(period.after for period in PERIODS), None], strict=True))
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
    minutes = LaneMinute.objects.filter(tenant_id=tenant.pk, minute__gte=start, minute__lt=end)
    if queues:
        lanes = Lane.objects.filter(tenant=tenant, queue__in=queues)
        minutes = minutes.filter(lane_id__in=lanes.values("pk"))
    return Usage(start, end, _by_step(minutes, step), _sums(minutes.aggregate(**_annotations())))


def _by_step(minutes: QuerySet[LaneMinute], step: Step) -> list[dict[str, Any]]:
    rows: Any = (
        minutes.annotate(at=Trunc("minute", step.value, tzinfo=UTC))
        .values("at")
        .annotate(**_annotations())
        .order_by("at")
    )
    return [{"at": row["at"], **_sums(row)} for row in rows]


def _annotations() -> dict[str, Any]:
    sums = {f"{name}_sum": Sum(name) for name in (*COUNTS, *SECONDS)}
    return {**sums, "longest_wait": Max("max_wait_seconds")}


def _sums(row: dict[str, Any]) -> dict[str, Any]:
    counts = {name: row[f"{name}_sum"] or 0 for name in COUNTS}
    seconds = {name: row[f"{name}_sum"] or 0.0 for name in SECONDS}
    return {**counts, **seconds, "max_wait_seconds": row["longest_wait"] or 0.0}


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
