"""What a worker sees of the queue and what it may take of it, by the model."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property

from jobs import models
from jobs.statuses import Status
from jobs.store import Mark, Marks, ReadyLane
from jobs.store.dialect import is_postgresql
from tests.properties.model import SECONDS_OFF, Lane, Line, World, holders

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Places = Mapping[uuid.UUID, tuple[int, Mark]]
"""The line of each ready job and its place in it, as they are stored."""


class Clock:
    """Of a worker, in the place of `time`: a look takes a second, so that its marks count."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """What the test says."""
        return self.now


class View:
    """What one worker can see behind its marks. SQLite has none: there is no need of them."""

    def __init__(
        self, world: World, tags: Collection[str], unknown: Collection[str], after: Marks
    ) -> None:
        self.world = world
        self._marks = after if is_postgresql() else {}
        self.ready = {
            lane: [
                job_id for job_id in world.ready(lane, unknown, tags) if self._is_visible(job_id)
            ]
            for lane in world.lanes
        }

    @cached_property
    def places(self) -> Places:
        """The places of all ready jobs when they were first asked for."""
        ready = models.Job.objects.filter(status=Status.PENDING)
        return {
            job_id: (line_id, Mark(-priority, (run_at - _1970) // _MICROSECOND, str(job_id)))
            for job_id, line_id, priority, run_at in ready.values_list(
                "pk", "line_id", "priority", "run_at"
            )
        }

    def _is_visible(self, job_id: uuid.UUID) -> bool:
        if not self._marks:
            return True
        line_id, place = self.places[job_id]
        return line_id not in self._marks or place > self._marks[line_id]

    def lines(self, lane: Lane) -> set[Line]:
        """The lines of the lane that have ready jobs."""
        return {self.world.jobs[job_id].line for job_id in self.ready[lane]}

    def check_look(self, seen: Mapping[Lane, ReadyLane]) -> None:
        """It shows the lanes with ready jobs and room, and those that wait for a pace."""
        expected = {lane for lane in self.world.lanes if self._is_shown(lane)}
        assert seen.keys() == expected
        for lane, found in seen.items():
            lines = self.lines(lane)
            tasks = {task for task, _ in lines}
            room = self._room(lane)
            assert found.tenant_room == self.world.left(("tenant", lane[0]))
            if len(tasks) == len(lines) or room is None:
                assert found.room == room
            else:  # those of one task have its places together, which a look does not mind
                assert found.room is None or found.room >= room
            assert 0 <= self._opens_in(lane) - found.opens_in < SECONDS_OFF
            is_simple = len(lines) == 1 and self.world.is_simple(lane, *tasks)
            assert (found.only_line is not None) == is_simple

    def _is_shown(self, lane: Lane) -> bool:
        if not self.ready[lane] or not self.world.is_open(lane):
            return False
        has_room = self._room(lane) != 0 and self.world.left(("tenant", lane[0])) != 0
        return has_room or self._opens_in(lane) > 0

    def _room(self, lane: Lane) -> int | None:
        """What the limits of the lane and of the tasks in it leave."""
        left = [self._of_task(lane, task) for task in {task for task, _ in self.lines(lane)}]
        of_tasks = None if None in left else sum(places or 0 for places in left)
        limits = (self.world.left(("lane", *lane)), of_tasks)
        return min((places for places in limits if places is not None), default=None)

    def _of_task(self, lane: Lane, task: str) -> int | None:
        return self.world.left(*holders(lane, task)[2:])

    def _opens_in(self, lane: Lane) -> int:
        return min(self.world.opens_in(lane, task) for task, _ in self.lines(lane))

    def check_best_first(self, got: Collection[uuid.UUID], ready: Sequence[uuid.UUID]) -> None:
        """Nobody was passed over by a lesser one, unless the limits of its task were reached."""
        for left in set(ready) - set(got):
            passed = self.world.jobs[left]
            is_full = self._of_task(passed.lane, passed.task) == 0
            for taken in got:
                if not is_full or self.world.jobs[taken].task == passed.task:
                    assert self.places[taken][1] < self.places[left][1]
