"""The rows of the page of queues: each lane with its limits, its last hour and its workers."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Sum

from dashboard.queries import counts, history
from dashboard.queries.counts import Count
from dashboard.queries.history import OUTCOMES, Ended
from dashboard.scope import Scope
from jobs.figures import live_workers
from jobs.models import LaneMinute, Worker
from jobs.store.clock import now
from jobs.store.depths import lanes_with_counts

MAX_ROWS = 100
LATELY = timedelta(minutes=5)
SPARK_STEP, SPARK_BARS = timedelta(minutes=2), 30
"""The last hour, so finely."""


class QueueRow(NamedTuple):
    """A queue of a tenant. `lately` is what ended in the last five minutes."""

    lane: Any
    slug: str
    state: str
    waiting: Count
    lately: Ended
    workers: int

    @property
    def is_unserved(self) -> bool:
        """Whether jobs wait in it for want of a worker."""
        return self.state == "active" and bool(self.waiting) and not self.workers

    @property
    def is_at_limit(self) -> bool:
        """Whether as many of its jobs run as may."""
        most = self.lane.max_running
        return most is not None and self.lane.running >= most


STATES: Mapping[str, Callable[[QueueRow], bool]] = {
    "active": lambda row: row.state == "active",
    "paused": lambda row: row.state == "paused",
    "waiting": lambda row: bool(row.waiting),
    "at limit": lambda row: row.is_at_limit,
    "no worker": lambda row: row.is_unserved,
}
"""What the list can be narrowed to."""
SORTS: Mapping[str, Callable[[QueueRow], Any]] = {
    "tenant": lambda row: row.slug,
    "queue": lambda row: row.lane.queue,
    "waiting": lambda row: -row.waiting.value,
    "oldest": lambda row: -_age(row).total_seconds(),
    "running": lambda row: -row.lane.running,
    "done": lambda row: -row.lately.done,
    "errors": lambda row: -(row.lately.error_rate or 0),
    "workers": lambda row: row.workers,
}
"""Its orders: names rise, figures fall, and where workers lack comes first."""


@dataclass(frozen=True)
class Asked:
    """What of the queues is asked for, and in which order."""

    name: str = ""
    state: str = ""
    sort: str = "tenant"

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Asked":
        """What a URL asks for; a word that does not exist stands for none."""
        state, sort = query.get("state", ""), query.get("sort", "")
        return cls(
            query.get("name", "").strip(),
            state if state in STATES else "",
            sort if sort in SORTS else "tenant",
        )

    def __bool__(self) -> bool:
        return bool(self.name or self.state)

    def matches(self, row: QueueRow) -> bool:
        """Whether the row is asked for."""
        is_named = self.name.lower() in f"{row.slug}/{row.lane.queue}".lower()
        return is_named and (not self.state or STATES[self.state](row))


def listed(scope: Scope, asked: Asked) -> dict[str, Any]:
    """The queues that are asked for with their last hour, the number of them, and of all."""
    rows = _rows(scope)
    found = [row for row in rows if asked.matches(row)]
    by_name = sorted(found, key=lambda row: (row.slug, row.lane.queue))
    shown = sorted(by_name, key=SORTS[asked.sort])[:MAX_ROWS]
    hour = sparks([row.lane.pk for row in shown], now())
    return {
        "rows": [(row, hour[row.lane.pk]) for row in shown],
        "unserved": sorted({row.lane.queue for row in shown if not row.workers}),
        "found": len(found),
        "total": len(rows),
    }


def _rows(scope: Scope) -> list[QueueRow]:
    active = {tenant.pk for tenant in scope.shown if tenant.is_active}
    lately = history.ended_per_lane(scope.ids, now() - LATELY)
    workers = list(live_workers().filter(is_draining=False))
    lanes: Iterable[Any] = lanes_with_counts(scope.ids)
    return [
        QueueRow(
            lane=lane,
            slug=scope.slugs[lane.tenant_id],
            state=_state(lane, is_active=lane.tenant_id in active),
            waiting=counts.total([lane.waiting]),
            lately=lately.get(lane.pk, Ended()),
            workers=sum(_serves(worker, lane) for worker in workers),
        )
        for lane in lanes
    ]


def _state(lane: Any, *, is_active: bool) -> str:
    if not is_active:
        return "suspended"
    return "paused" if lane.is_paused else "active"


def _serves(worker: Worker, lane: Any) -> bool:
    is_own = worker.tenant_id in {None, lane.tenant_id}
    return is_own and (not worker.queues or lane.queue in worker.queues)


def _age(row: QueueRow) -> timedelta:
    oldest = row.lane.oldest
    return row.lane.now - oldest if oldest else timedelta(0)


def sparks(lane_ids: Collection[int], at: datetime) -> dict[int, list[Ended]]:
    """What ended in the last hour in each lane, by steps, oldest first."""
    step = int(SPARK_STEP.total_seconds())
    last = int(at.timestamp()) // step
    steps = {lane_id: [Ended()] * SPARK_BARS for lane_id in lane_ids}
    rows = (
        LaneMinute.objects.filter(lane_id__in=lane_ids, minute__gte=at - SPARK_STEP * SPARK_BARS)
        .values_list("lane_id", "minute")
        .annotate(*[Sum(name) for name in OUTCOMES])
        .order_by()
    )
    for lane_id, minute, *sums in rows:
        bar = SPARK_BARS - 1 - (last - int(minute.timestamp()) // step)
        if bar >= 0:
            before = steps[lane_id][bar]
            steps[lane_id][bar] = Ended(*map(sum, zip(before, sums, strict=True)))
    return steps
