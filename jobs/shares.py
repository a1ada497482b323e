"""Fair shares: how many of the free places each lane gets. Pure, but for what it remembers.

Stride scheduling (Waldspurger and Weihl, "Stride Scheduling: Deterministic Proportional-Share
Resource Management", MIT, 1995), on two levels: the tenants share the places, then the lanes of
each tenant share what the tenant got. So a tenant gains nothing by having many queues.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from jobs.store import ReadyLane, Share

TURN_SECONDS = 0.01
"""What a job costs at least. One that holds its slot for longer costs as many turns as it takes: a
tenant whose jobs are ten times as long gets a tenth as many of them."""
MAX_DEBT_TURNS = 6_000
"""Who took more than others owes them a minute of a slot at most: it may have been for hours that
nobody else wanted it."""
KEPT = 1_000
"""Of so many tenants that are away, as at their limits, the turns of their lanes are remembered."""


class FairShares:
    """Divides places among tenants, and theirs among their lanes, by weight, over many calls.

    Each claimer keeps its own: where every one is fair in what it takes, the sum is fair. After
    each `divide`, tell `charge` what was really claimed; tell `prolong` of jobs that took, or have
    been taking, more than their turn.
    """

    def __init__(self) -> None:
        self._tenants = _Strides()
        self._lanes: dict[int, _Strides] = {}

    def divide(self, lanes: Sequence[ReadyLane], places: int) -> list[Share]:
        """How many of `places` each lane may take: no lane or tenant more than its room."""
        of_tenant: dict[int, list[ReadyLane]] = defaultdict(list)
        for lane in lanes:
            of_tenant[lane.tenant_id].append(lane)
        self._lanes = self._away(of_tenant) | {
            tenant_id: self._lanes.get(tenant_id) or _Strides() for tenant_id in of_tenant
        }
        tenants = {tenant_id: _as_sharer(own) for tenant_id, own in of_tenant.items()}
        shares: list[tuple[int, int]] = []
        for tenant_id, quota in self._tenants.divide(tenants, places).items():
            own = {x.lane_id: _Sharer(x.weight, _room(x.room)) for x in of_tenant[tenant_id]}
            shares += self._lanes[tenant_id].divide(own, quota).items()
        seen = {lane.lane_id: lane for lane in lanes}
        return [seen[lane_id].share(quota) for lane_id, quota in shares if quota]

    def charge(self, claimed: Mapping[int, int]) -> None:
        """Note what the lanes of the last `divide` really got: jobs by lane id."""
        taken, waiting = {}, set()
        for tenant_id in self._tenants.offered:
            lanes = self._lanes[tenant_id]
            own = {lane_id: claimed.get(lane_id, 0) for lane_id in lanes.offered}
            satisfied = {lane_id for lane_id, jobs in own.items() if jobs >= lanes.offered[lane_id]}
            taken[tenant_id] = sum(own.values())
            if lanes.charge(own, waiting=satisfied):
                waiting.add(tenant_id)
        self._tenants.charge(taken, waiting=waiting)

    def prolong(self, tenant_id: int, lane_id: int, turns: float) -> None:
        """A job of the lane has held its slot for so many more turns than were charged."""
        self._tenants.prolong(tenant_id, turns)
        if lanes := self._lanes.get(tenant_id):
            lanes.prolong(lane_id, turns)

    def _away(self, present: Collection[int]) -> dict[int, "_Strides"]:
        """What is remembered of tenants that are not present, the latest of them.

        A tenant at its limit is away until one of its jobs ends. Were it a newcomer then, the same
        lane would be first each time, and the others would never have a turn.
        """
        away = [x for x in self._lanes.items() if x[0] not in present and not x[1].is_even]
        return dict(away[-KEPT:])


class _Sharer(NamedTuple):
    weight: int
    room: float


def _room(room: int | None) -> float:
    return math.inf if room is None else room


def _as_sharer(lanes: Sequence[ReadyLane]) -> _Sharer:
    of_lanes = sum(_room(lane.room) for lane in lanes)
    return _Sharer(lanes[0].tenant_weight, min(_room(lanes[0].tenant_room), of_lanes))


class _Strides:
    """One level: every sharer has a pass that grows by 1/weight per job; the lowest is next.

    The present pass is the lowest of those who could have taken more than they were offered. Who
    comes, comes back or did not take what was offered goes on from there: nobody saves up credit
    while idle, at its limit, or with jobs that this claimer cannot get.
    """

    def __init__(self) -> None:
        self.offered: dict[int, int] = {}
        self._sharers: Mapping[int, _Sharer] = {}
        self._weights: dict[int, int] = {}
        self._passes: dict[int, float] = {}
        self._now = 0.0

    def divide(self, sharers: Mapping[int, _Sharer], places: int) -> dict[int, int]:
        """Offer up to `places`, one after the other, to whoever is next."""
        self._sharers, self.offered = sharers, dict.fromkeys(sharers, 0)
        self._weights |= {key: sharer.weight for key, sharer in sharers.items()}
        line = [(self._pass(key), key) for key, sharer in sharers.items() if sharer.room > 0]
        heapq.heapify(line)
        while places and line:
            at, key = line[0]
            self.offered[key] += 1
            places -= 1
            if self.offered[key] >= sharers[key].room:
                heapq.heappop(line)
            else:
                heapq.heapreplace(line, (at + 1 / sharers[key].weight, key))
        return self.offered

    def charge(self, taken: Mapping[int, int], *, waiting: Collection[int]) -> bool:
        """Note what was taken; an offer costs one turn at least, so that nobody blocks the line.

        `waiting` may have more to do; answers whether one of them has room for it too.
        """
        for key, sharer in self._sharers.items():
            cost = max(taken[key], min(self.offered[key], 1))
            self._passes[key] = self._pass(key) + cost / sharer.weight
        backlog = [key for key in waiting if self.offered[key] < self._sharers[key].room]
        if self._sharers:
            present = [self._passes[key] for key in backlog or self._sharers]
            self._now = max(self._now, min(present) if backlog else max(present))
        self._passes = {key: at for key, at in self._passes.items() if at > self._now}
        return bool(backlog)

    @property
    def is_even(self) -> bool:
        """Whether all of them are equally next: nothing has to be remembered."""
        return not self._passes

    def prolong(self, key: int, turns: float) -> None:
        """Charge turns that are known only now."""
        at, weight = self._pass(key), self._weights.get(key, 1)
        self._passes[key] = max(at, min(at + turns / weight, self._now + MAX_DEBT_TURNS / weight))

    def _pass(self, key: int) -> float:
        return self._passes.get(key, self._now)
