"""The figures of the overview, each read at most once per request and only when asked for."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from dashboard.queries import counts, history, workers
from dashboard.queries.counts import Count
from dashboard.queries.unserved import Unserved, unserved
from dashboard.scope import PageScope
from jobs.models import Lane, Tenant, Worker
from jobs.statuses import Status
from jobs.store.clock import now
from jobs.store.depths import CountedLane, lanes_with_counts
from jobs.worker_states import WorkerState, worker_state

MAX_ROWS = 20
MINUTE, SPARK_MINUTES = timedelta(minutes=1), 15


class LaneRow(NamedTuple):
    """A queue of a tenant, as a row of the table of queues. `limit`: of what may run at once, its
    own or its tenant's, whichever is less."""

    lane: CountedLane
    slug: str
    waiting: Count
    limit: int | None
    hour: history.Ended
    spark: list[history.Ended]


class BusyTenant(NamedTuple):
    """A row of the table of tenants."""

    tenant: Any
    waiting: Count
    running: int
    done: int
    dead: Count = Count(0)
    """Of those that are shown."""


class Board:
    """The overview's figures of the tenants in scope, which are at least one."""

    def __init__(self, scope: PageScope) -> None:
        self.scope = scope

    @cached_property
    def tenants(self) -> list[Any]:
        """The tenants in scope."""
        return list(self.scope.shown)

    @cached_property
    def now(self) -> datetime:
        """The time by the database's clock."""
        return now()

    @cached_property
    def lanes(self) -> list[CountedLane]:
        """Their lanes with counts, the fullest first."""
        return lanes_with_counts(Lane.objects.filter(tenant__in=self.scope.ids))

    @cached_property
    def workers(self) -> list[Worker]:
        """The worker processes."""
        return list(workers.seen())

    @cached_property
    def by_status(self) -> dict[Status, Count]:
        """Jobs per status: live ones now; DONE in the last 24 hours."""
        found = counts.by_status(self.scope.ids)
        found[Status.DONE] = Count(history.done_in_a_day(self.scope, self.now))
        return {status: found[status] for status in Status}

    @cached_property
    def by_status_and_lane(self) -> dict[Status, Count]:
        """The same, with those that are ready counted to the cap in each lane."""
        ready = counts.total([lane.waiting for lane in self.lanes])
        return self.by_status | {Status.PENDING: ready}

    @property
    def oldest(self) -> datetime | None:
        """When the job that waits longest became ready."""
        return min((lane.oldest for lane in self.lanes if lane.oldest), default=None)

    @property
    def is_new(self) -> bool:
        """Whether there has not been a single job yet."""
        return not self.lanes

    @cached_property
    def open_lanes(self) -> list[CountedLane]:
        """The lanes whose jobs nobody has stopped."""
        active = {tenant.pk for tenant in self.tenants if tenant.is_active}
        return [x for x in self.lanes if x.tenant_id in active and not x.is_paused]

    @property
    def live_workers(self) -> list[Worker]:
        """The workers that are alive and take jobs."""
        return [x for x in self.workers if worker_state(x, self.now) == WorkerState.LIVE]

    def unserved(self) -> list[Unserved]:
        """Jobs that wait although nothing forbids it, for want of a worker."""
        return unserved(self.open_lanes, self.live_workers, self.now)

    def at_limit(self) -> list[BusyTenant]:
        """Tenants that wait for their own running jobs to end."""
        return [
            row
            for row in self._busiest_tenants
            if row.waiting and row.tenant.max_running and row.running >= row.tenant.max_running
        ]

    def lane_rows(self) -> list[LaneRow]:
        """The fullest lanes by name, with their last hour and their last minutes."""
        slugs = self.scope.slugs
        lanes = sorted(self.lanes[:MAX_ROWS], key=lambda one: (slugs[one.tenant_id], one.queue))
        lane_ids = [lane.pk for lane in lanes]
        sparks = history.sparks(lane_ids, self.now, step=MINUTE, bars=SPARK_MINUTES)
        return [self._lane_row(lane, sparks[lane.pk]) for lane in lanes]

    def _lane_row(self, lane: CountedLane, spark: list[history.Ended]) -> LaneRow:
        both = lane.max_running, self._limits.get(lane.tenant_id)
        return LaneRow(
            lane=lane,
            limit=min((most for most in both if most is not None), default=None),
            slug=self.scope.slugs[lane.tenant_id],
            waiting=counts.total([lane.waiting]),
            hour=self._hour.get(lane.pk, history.Ended()),
            spark=spark,
        )

    def tenant_rows(self) -> list[BusyTenant]:
        """The busiest tenants by name: a row keeps its place under the mouse."""
        shown = self._busiest_tenants[:MAX_ROWS]
        dead = counts.dead_of([row.tenant.pk for row in shown])
        rows = [row._replace(dead=counts.total([dead[row.tenant.pk]])) for row in shown]
        return sorted(rows, key=lambda row: row.tenant.slug)

    @cached_property
    def _limits(self) -> dict[int, int | None]:
        return {tenant.pk: tenant.max_running for tenant in self.tenants}

    def worker_rows(self) -> list[dict[str, Any]]:
        """The workers that have not stopped, each with its state."""
        rows = [
            {"worker": worker, "now": self.now, "state": worker_state(worker, self.now)}
            for worker in self.workers
        ]
        return [row for row in rows if row["state"] != WorkerState.STOPPED]

    @cached_property
    def _busiest_tenants(self) -> list[BusyTenant]:
        rows = [self._tenant_row(tenant) for tenant in self.tenants]
        return sorted(rows, key=lambda row: (-row.running, -row.waiting.value, row.tenant.slug))

    @cached_property
    def _hour(self) -> dict[int, history.Ended]:
        return history.ended_per_lane(self.scope.ids, self.now - timedelta(hours=1))

    def _tenant_row(self, tenant: Tenant) -> BusyTenant:
        lanes = self._lanes_by_tenant[tenant.pk]
        return BusyTenant(
            tenant=tenant,
            waiting=counts.total([lane.waiting for lane in lanes]),
            running=sum(lane.running for lane in lanes),
            done=sum(self._hour[lane.pk].done for lane in lanes if lane.pk in self._hour),
        )

    @cached_property
    def _lanes_by_tenant(self) -> Mapping[int, list[CountedLane]]:
        lanes: dict[int, list[CountedLane]] = defaultdict(list)
        for lane in self.lanes:
            lanes[lane.tenant_id].append(lane)
        return lanes
