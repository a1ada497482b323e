"""What is counted about tenants and lanes. Reads only, each through an index on the live rows.

Finished jobs are never counted: their totals are the sums of `LaneMinute`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, QuerySet, Sum
from django.utils import timezone

from jobs.conf import conf
from jobs.models import Job, Lane, LaneMinute, Tenant, Worker
from jobs.statuses import Status

LIVE = (Status.SCHEDULED, Status.BLOCKED, Status.PENDING, Status.RUNNING, Status.FAILED)
ENDED = ("done", "failed", "dead", "cancelled")
PERCENTILES = (50, 95, 99)
SAMPLE = 1_000
RECENT_MINUTES = 60

# One group per partial index: PENDING, RUNNING, and what a healthy job never passes through.
_GROUPS: tuple[tuple[Status, ...], ...] = (
    (Status.PENDING,),
    (Status.RUNNING,),
    (Status.SCHEDULED, Status.BLOCKED, Status.FAILED, Status.DLQ, Status.CANCELLED),
)


@dataclass
class LaneFigures:
    """How full one lane is."""

    lane: Lane
    depth: Counter[str] = field(default_factory=Counter)
    oldest_waiting_seconds: float | None = None


def lanes(tenant: Tenant | None = None) -> list[LaneFigures]:
    """The lanes of one tenant, or of all, by tenant and queue."""
    chosen = Lane.objects.select_related("tenant").order_by("tenant__slug", "queue")
    if tenant is not None:
        chosen = chosen.filter(tenant=tenant)
    found = {lane.pk: LaneFigures(lane) for lane in chosen}
    now = timezone.now()
    for row in _counts(found if tenant else None, tenant, by=("lane_id", "status")):
        figures = found.get(row["lane_id"])
        if figures is None:  # made since the lanes were read
            continue
        figures.depth[row["status"]] += row["count"]
        if row["status"] == Status.PENDING:
            figures.oldest_waiting_seconds = max(0.0, (now - row["oldest"]).total_seconds())
    return list(found.values())


def status_counts(tenant: Tenant) -> dict[str, int]:
    """How many jobs of the tenant are in each status; DONE are all that ever were."""
    lane_ids = list(Lane.objects.filter(tenant=tenant).values_list("pk", flat=True))
    counts = {status.value: 0 for status in Status}
    for row in _counts(lane_ids, tenant, by=("status",)):
        counts[row["status"]] += row["count"]
    counts[Status.DONE] = ended_totals(LaneMinute.objects.filter(tenant_id=tenant.pk))["done"]
    return counts


def _counts(
    lane_ids: Iterable[int] | None, tenant: Tenant | None, *, by: Sequence[str]
) -> Iterable[dict[str, Any]]:
    for group in _GROUPS:
        rows = Job.objects.filter(status__in=group).order_by()
        if group == (Status.PENDING,):
            rows = Job.objects.filter(status=Status.PENDING).order_by()
            rows = rows if lane_ids is None else rows.filter(lane_id__in=list(lane_ids))
        elif tenant is not None:
            rows = rows.filter(tenant_id=tenant.pk)
        yield from rows.values(*by).annotate(count=Count("pk"), oldest=Min("run_at"))


def ended_totals(minutes: QuerySet[LaneMinute]) -> dict[str, int]:
    """What ended in these minutes, by outcome."""
    sums = minutes.aggregate(**{name: Sum(name) for name in ENDED})
    return {name: sums[name] or 0 for name in ENDED}


def ended_by_lane() -> dict[int, dict[str, int]]:
    """What ever ended, by lane and outcome."""
    rows: Any = (
        LaneMinute.objects.values("lane_id").annotate(**{n: Sum(n) for n in ENDED}).order_by()
    )
    return {row["lane_id"]: {name: row[name] for name in ENDED} for row in rows}


def throughput(tenant: Tenant) -> list[dict[str, Any]]:
    """What started and ended in each of the last minutes, oldest first; idle ones are left out."""
    since = timezone.now() - timedelta(minutes=RECENT_MINUTES)
    minutes = LaneMinute.objects.filter(tenant_id=tenant.pk, minute__gte=since)
    names = ("started", *ENDED)
    rows: Any = minutes.values("minute").annotate(**{n: Sum(n) for n in names}).order_by("minute")
    return [{name: row[name] for name in ("minute", *names)} for row in rows]


def waits_and_runs(tenant: Tenant) -> dict[str, dict[str, float | None]]:
    """Percentiles, in seconds, over the jobs that were done last."""
    done = Job.objects.filter(tenant_id=tenant.pk, status=Status.DONE)
    times: Any = done.order_by("-pk").values_list("run_at", "started_at", "finished_at")[:SAMPLE]
    samples: dict[str, list[float]] = defaultdict(list)
    for run_at, started_at, finished_at in times:
        samples["wait_seconds"].append(_seconds(run_at, started_at))
        samples["run_seconds"].append(_seconds(started_at, finished_at))
    return {name: percentiles(samples[name]) for name in ("wait_seconds", "run_seconds")}


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """The nearest-rank percentiles; null where nothing was measured."""
    ranked = sorted(values)
    return {
        f"p{p}": ranked[-(-p * len(ranked) // 100) - 1] if ranked else None for p in PERCENTILES
    }


def live_workers() -> QuerySet[Worker]:
    """The workers that gave a sign of life within a lease's time and have not stopped."""
    since = timezone.now() - timedelta(seconds=conf().lease_seconds)
    return Worker.objects.filter(stopped_at=None, seen_at__gte=since)


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
