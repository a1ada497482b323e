"""What is counted about tenants and lanes. Reads only, each through an index on the live rows.

What a tenant asks for is counted up to `CAP`, so that its backlog does not make it wait. Finished
jobs are never counted: their totals are those of `jobs/store/minutes.py`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from django.db.models import Count, Min, Sum
from django.utils import timezone

from jobs.lookup import in_status
from jobs.models import Job, Lane, LaneMinute, Tenant
from jobs.statuses import UNUSUAL, Status
from jobs.store.depths import (
    CAP,
    CountedLane,
    lanes_with_counts,
    newest_times,
    unusual_by_lane,
)
from jobs.store.minutes import Length, read_counts, total

LIVE = (Status.SCHEDULED, Status.BLOCKED, Status.PENDING, Status.RUNNING, Status.FAILED)
ENDED = ("done", "failed", "dead", "cancelled")
COUNTS = ("started", *ENDED)
"""What `LaneMinute` counts of jobs, but for those that were deleted."""
PERCENTILES = (50, 95, 99)
SAMPLE, SAMPLED_FROM = 1_000, 10_000
RECENT_MINUTES = 60


class LaneName(NamedTuple):
    """A lane by its names alone."""

    pk: int
    slug: str
    queue: str


L = TypeVar("L", Lane, LaneName)


@dataclass
class LaneFigures(Generic[L]):
    """How full one lane is."""

    lane: L
    depth: Counter[str] = field(default_factory=Counter)
    oldest_waiting_seconds: float | None = None


def lanes() -> list[LaneFigures[LaneName]]:
    """The lanes of all tenants, by tenant and queue, with all of their jobs counted."""
    chosen = Lane.objects.order_by("tenant__slug", "queue")
    names = map(LaneName._make, chosen.values_list("pk", "tenant__slug", "queue"))
    found = {name.pk: LaneFigures(name) for name in names}
    for lane_id, status, count, oldest in _by_lane():
        if lane_id in found:  # and not made since the lanes were read
            found[lane_id].depth[status] = count
            if oldest:
                found[lane_id].oldest_waiting_seconds = _seconds(oldest, timezone.now())
    return list(found.values())


def _by_lane() -> Iterator[tuple[int, str, int, datetime | None]]:
    """Lane, status and count; of those that are ready also when the oldest became so.

    Those and what runs have an index each, which does not know the status.
    """
    jobs, count = Job.objects.order_by(), Count("*")
    unusual = in_status(jobs, *UNUSUAL).values_list("lane_id", "status")
    running = in_status(jobs, Status.RUNNING).values_list("lane_id")
    ready = in_status(jobs, Status.PENDING).values_list("lane_id")
    yield from ((*row, None) for row in unusual.annotate(n=count))
    yield from ((lane, Status.RUNNING, number, None) for lane, number in running.annotate(n=count))
    for lane, number, oldest in ready.annotate(n=count, oldest=Min("run_at")):
        yield lane, Status.PENDING, number, oldest


def lanes_of(tenant: Tenant, queue: str | None = None) -> list[LaneFigures[Lane]]:
    """The lanes of a tenant by queue, or the one of that queue; counts stop at `CAP`."""
    chosen = Lane.objects.filter(tenant=tenant, **{} if queue is None else {"queue": queue})
    counted = {one.pk: one for one in lanes_with_counts(chosen)}
    by_queue = chosen.filter(pk__in=counted).order_by("queue")
    found = {lane.pk: _capped(lane, counted[lane.pk]) for lane in by_queue}
    for lane_id, counts in unusual_by_lane(found).items():
        found[lane_id].depth.update(counts)
    return list(found.values())


def _capped(lane: Lane, counted: CountedLane) -> LaneFigures[Lane]:
    depth: Counter[str] = Counter(
        {Status.PENDING: min(counted.waiting, CAP), Status.RUNNING: counted.running}
    )
    age = None if counted.oldest is None else _seconds(counted.oldest, counted.now)
    return LaneFigures(lane, depth, age)


def status_counts(tenant: Tenant) -> dict[str, int]:
    """How many jobs of the tenant are in each status, up to `CAP`; DONE are all that ever were."""
    jobs = Job.objects.filter(tenant_id=tenant.pk).order_by()
    lane_ids = list(Lane.objects.filter(tenant=tenant).values_list("pk", flat=True))
    ready = in_status(Job.objects.filter(lane_id__in=lane_ids).order_by(), Status.PENDING)
    return {
        **{status: in_status(jobs, status)[:CAP].count() for status in (Status.RUNNING, *UNUSUAL)},
        Status.PENDING: ready[:CAP].count(),
        Status.DONE: total(("done",), [tenant.pk])[0],
    }


def totals_by_lane() -> dict[int, dict[str, int]]:
    """What ever ended, by lane and outcome, and how many jobs were deleted since."""
    names = (*ENDED, "purged")
    everybody = list(Tenant.objects.values_list("pk", flat=True))
    rows = read_counts("lane_id", names, Length.EVER, everybody)
    return {lane_id: dict(zip(names, sums, strict=True)) for lane_id, sums in rows.items()}


def throughput(tenant: Tenant) -> list[dict[str, Any]]:
    """What started and ended in each of the last minutes, oldest first; idle ones are left out."""
    since = timezone.now() - timedelta(minutes=RECENT_MINUTES)
    minutes = LaneMinute.objects.filter(tenant_id=tenant.pk, minute__gte=since)
    rows: Any = minutes.values("minute").annotate(**{n: Sum(n) for n in COUNTS}).order_by("minute")
    return [{name: row[name] for name in ("minute", *COUNTS)} for row in rows]


def waits_and_runs(tenant: Tenant) -> dict[str, dict[str, float | None]]:
    """Percentiles, in seconds, over the jobs done among the newest `SAMPLED_FROM`.

    Behind a longer backlog there are none: what would be read to find them grows with it.
    """
    times = newest_times(tenant.pk, among=SAMPLED_FROM, at_most=SAMPLE)
    waits, runs = zip(*times, strict=True) if times else ((), ())
    return {"wait_seconds": percentiles(waits), "run_seconds": percentiles(runs)}


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """The nearest-rank percentiles; null where nothing was measured."""
    ranked = sorted(values)
    return {
        f"p{p}": ranked[-(-p * len(ranked) // 100) - 1] if ranked else None for p in PERCENTILES
    }


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
