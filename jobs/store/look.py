"""A look at what could be claimed: lanes with ready jobs, and the room that limits leave them.

It locks nothing, and so is only a guess; the claim decides again.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from jobs.store.claim import Share
from jobs.store.lines import Line, Marks, ready_lines
from jobs.store.rooms import Rooms

_Holder = tuple[str, int]
"""A tenant or a lane, T or L, and its id."""


class ReadyLane(NamedTuple):
    """A lane with ready jobs that could start now, or in `opens_in` seconds.

    `room` is what the limits of the lane and of its tasks leave, `tenant_room` what all lanes of
    its tenant have together; None where there is no limit. `only_line` is the line that its ready
    jobs are in, if that is a single one under no other limit than those of running jobs that its
    lane and its tenant have. `is_contended` says that it shares its limit with ready jobs of its
    tenant that are left to other workers.
    """

    lane_id: int
    tenant_id: int
    weight: int
    tenant_weight: int
    room: int | None
    tenant_room: int | None
    opens_in: float = 0
    only_line: int | None = None
    is_contended: bool = False

    def less(self, jobs: int, *, of_tenant: int) -> "ReadyLane":
        """What is left after so many jobs of the lane, and so many of its tenant, were taken."""
        room = None if self.room is None else self.room - jobs
        tenant_room = None if self.tenant_room is None else self.tenant_room - of_tenant
        return self._replace(room=room, tenant_room=tenant_room)

    @property
    def is_limited(self) -> bool:
        """Whether the lane or its tenant has a limit."""
        return self.room is not None or self.tenant_room is not None

    @property
    def has_room(self) -> bool:
        """Whether the limits leave a place."""
        return all(room is None or room > 0 for room in (self.room, self.tenant_room))

    def share(self, quota: int) -> Share:
        """So many jobs of the lane, to be claimed."""
        limited = self.tenant_id if self.is_limited else None
        return Share(self.lane_id, quota, self.only_line, limited)


def ready_lanes(
    queues: Collection[str] = (),
    *,
    unknown: Collection[str] = (),
    tags: Collection[str] = (),
    after: Marks | None = None,
    own: Collection[int] = (),
) -> list[ReadyLane]:
    """The lanes that have ready jobs for a worker and, as far as can be seen, room for them.

    For a worker of those `queues` (of nothing: all), with those `tags`, that does not know the
    tasks in `unknown`. Lines are looked at behind the marks of `after`. Among them, without room,
    are lanes that have to wait for their pace of starts, those of the tenants in `own`, of which
    the worker runs jobs: their places come free there; and contended ones: those have turns.
    """
    lanes: dict[int, list[Line]] = defaultdict(list)
    shared: set[_Holder] = set()
    for line in ready_lines(after or {}):
        if (not queues or line.queue in queues) and line.suits(unknown, tags):
            lanes[line.lane_id].append(line)
        else:
            shared |= {("T", line.tenant_id), ("L", line.lane_id)}
    rooms = Rooms([line for lines in lanes.values() for line in lines])
    found = [_lane(lines, rooms, shared) for lines in lanes.values()]
    return [x for x in found if x.opens_in or x.has_room or x.is_contended or x.tenant_id in own]


def _lane(lines: Sequence[Line], rooms: Rooms, shared: Collection[_Holder]) -> ReadyLane:
    first = lines[0]
    lane = ReadyLane(
        first.lane_id,
        first.tenant_id,
        first.weight,
        first.tenant_weight,
        _room(lines, rooms),
        rooms.left(first.tenant_limit),
        opens_in=min(rooms.opens_in(line) for line in lines),
        only_line=first.id if len(lines) == 1 and is_simple(first) else None,
    )
    limits = (("T", lane.tenant_id, lane.tenant_room), ("L", lane.lane_id, lane.room))
    return lane._replace(
        is_contended=any(room is not None and (kind, key) in shared for kind, key, room in limits)
    )


def is_simple(line: Line) -> bool:
    """Whether nothing but running jobs is limited, and not by task."""
    is_paced = any(limit.starts_per_minute is not None for limit in line.limits)
    return not (is_paced or line.task_limit or line.shared_limit)


def _room(lines: Sequence[Line], rooms: Rooms) -> int | None:
    """What the limits of the lane and of the tasks in it leave together."""
    of_lane = rooms.left(lines[0].lane_limit)
    of_tasks = [rooms.left(line.task_limit, line.shared_limit) for line in lines]
    if None in of_tasks:
        return of_lane
    total = sum(room for room in of_tasks if room is not None)
    return total if of_lane is None else min(of_lane, total)
