"""Fair shares: how many of the free places each lane gets. Pure, but for what it remembers.

Stride scheduling (Waldspurger and Weihl, "Stride Scheduling: Deterministic Proportional-Share
Resource Management", MIT, 1995): every lane has a pass that grows by 1/weight for each job it is
given; the lane with the lowest pass is next.
"""

import heapq
from collections.abc import Sequence

from jobs.store import ReadyLane, Share


class FairShares:
    """Divides places among lanes in proportion to their weights, over many calls.

    Each claimer keeps its own: where every one is fair in what it takes, the sum is fair. A lane
    that comes back starts at the present pass, so that nobody saves up credit while idle.
    """

    def __init__(self) -> None:
        self._passes: dict[int, float] = {}
        self._now = 0.0

    def divide(self, lanes: Sequence[ReadyLane], places: int) -> list[Share]:
        """How many of `places` each lane may take; none gets more than its room."""
        self._passes = {lane.lane_id: self._pass(lane.lane_id) for lane in lanes}
        heap = [(self._passes[lane.lane_id], lane.lane_id, lane) for lane in lanes]
        heapq.heapify(heap)
        quotas = dict.fromkeys(self._passes, 0)
        while places and heap:
            at, lane_id, lane = heap[0]
            quotas[lane_id] += 1
            places -= 1
            if lane.room is not None and quotas[lane_id] >= lane.room:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (at + 1 / lane.weight, lane_id, lane))
        return [Share(lane_id, quota) for lane_id, quota in quotas.items() if quota]

    def charge(self, lanes: Sequence[ReadyLane], claimed: dict[int, int]) -> None:
        """Note what each lane really got: jobs by lane id."""
        for lane in lanes:
            self._passes[lane.lane_id] += claimed.get(lane.lane_id, 0) / lane.weight
        if lanes:
            self._now = max(self._now, min(self._passes.values()))

    def _pass(self, lane_id: int) -> float:
        return max(self._passes.get(lane_id, self._now), self._now)
