"""How many jobs may start now: what runs is counted, and starts are paced.

Starts are paced by GCRA, the "generic cell rate algorithm" (ITU-T I.371, annex A): a clock per
limit says when the starts that there were are paid off at the limit's rate; it may be ahead of the
present by as much as the burst takes to pay off.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.db import connection

from jobs.statuses import Status
from jobs.store.dialect import Rows, array, fetch_all, sql
from jobs.store.lines import Limit, Line

_LOCK_TENANTS = """
SELECT id FROM jobs_tenant WHERE id = ANY(%(tenants)s) ORDER BY id LOCK SKIPPING ROWS"""
_LOCK_SHARED = """
SELECT id FROM jobs_tasklimit WHERE id = ANY(%(shared)s) ORDER BY id LOCK SKIPPING ROWS"""

_RUNNING = f"""
SELECT running.tenant_id, running.lane_id, line.task, running.jobs
FROM (
    SELECT tenant_id, lane_id, line_id, count(*) AS jobs FROM jobs_job
    WHERE tenant_id = ANY(%(tenants)s) AND status = '{Status.RUNNING}'
    GROUP BY tenant_id, lane_id, line_id
) AS running
JOIN jobs_line AS line ON line.id = running.line_id"""

_RUNNING_OF_ALL = f"""
SELECT line.task, count(*) FROM jobs_job
JOIN jobs_line AS line ON line.id = jobs_job.line_id
WHERE jobs_job.status = '{Status.RUNNING}' AND line.task = ANY(%(tasks)s) GROUP BY line.task"""

_CLOCKS = """
SELECT holder, paid_off_at, MOMENT() FROM jobs_startclock WHERE holder = ANY(%(paced)s)
UNION ALL SELECT '', 0, MOMENT()"""

_MOVE_CLOCK = """
INSERT INTO jobs_startclock AS clock (holder, paid_off_at)
VALUES (%(holder)s, MOMENT() + %(seconds)s)
ON CONFLICT (holder) DO UPDATE
SET paid_off_at = CASE WHEN clock.paid_off_at > MOMENT() + %(latest)s THEN MOMENT()
    ELSE LATER(clock.paid_off_at, MOMENT()) END + %(seconds)s"""

STEP_SECONDS = 60
"""A clock that is ahead by so much more than starts can make it is of the time before the
database's own was set back: it says nothing."""


class Rooms:
    """The places that the limits of some lines leave, to be taken one after the other.

    With `lock` they are exact until the end of the transaction: the tenant of every limited line is
    locked, and each limit that tenants share. What another claimer has locked is passed over, so
    that nobody waits: it has no places.
    """

    def __init__(self, lines: Collection[Line], *, lock: bool = False) -> None:
        self._lines = [line for line in lines if line.limits]
        self._limits = {limit.holder: limit for line in self._lines for limit in line.limits}
        self._left: dict[str, float] = {}
        self._paces: dict[str, _Pace] = {}
        if self._limits:
            self._find(lock=lock)

    def _find(self, *, lock: bool) -> None:
        shared = {x.shared_limit.key: x.task for x in self._lines if x.shared_limit}
        tenants = {line.tenant_id for line in self._lines}
        paced = {x.holder for x in self._limits.values() if x.starts_per_minute is not None}
        asked = {
            "tenants": array(tenants),
            "shared": array(shared),
            "tasks": array(shared.values()),
            "paced": array(paced),
        }
        # In one round trip, but the locks in statements of their own: one that locks and counts
        # would count what was there when it began, and two claimers see the last free place.
        locks = [_LOCK_TENANTS, *([_LOCK_SHARED] if shared else [])] if lock else []
        counts = [_RUNNING, *([_RUNNING_OF_ALL] if shared else [])]
        found = iter(fetch_all([(statement, asked) for statement in (*locks, *counts, _CLOCKS)]))
        locked = [{key for (key,) in next(found)} for _ in locks]
        used = self._used(*(next(found) for _ in counts))
        self._paces = _paces([self._limits[holder] for holder in paced], next(found))
        self._left = {holder: self._places(x, used[holder]) for holder, x in self._limits.items()}
        if lock:
            self._pass_over(tenants.difference(locked[0]), set(shared).difference(*locked[1:]))

    def _places(self, limit: Limit, used: int) -> float:
        running = math.inf if limit.max_running is None else limit.max_running - used
        starts = self._paces[limit.holder].ready if limit.holder in self._paces else math.inf
        return max(0, min(running, starts))

    def _pass_over(self, tenants: Collection[int], shared: Collection[int]) -> None:
        for line in self._lines:
            for limit in line.limits:
                is_shared = limit is line.shared_limit
                if limit.key in shared if is_shared else line.tenant_id in tenants:
                    self._left[limit.holder] = 0

    def _used(self, running: Sequence[Any], of_all: Sequence[Any] = ()) -> Counter[str]:
        """The running jobs under each limit, by its holder."""
        used: Counter[str] = Counter()
        of_task = {(x.tenant_id, x.task): x.task_limit.holder for x in self._lines if x.task_limit}
        shared = {x.task: x.shared_limit.holder for x in self._lines if x.shared_limit}
        for tenant_id, lane_id, task, jobs in running:
            for holder in (f"T{tenant_id}", f"L{lane_id}", of_task.get((tenant_id, task), "")):
                used[holder] += jobs
        used.update({shared[task]: jobs for task, jobs in of_all})
        return used

    def left(self, *limits: Limit | None) -> int | None:
        """The places that all of the limits leave; None where there is no limit."""
        places = min((self._left[limit.holder] for limit in limits if limit), default=math.inf)
        return None if places == math.inf else int(places)

    def within(self, wanted: int, *limits: Limit | None) -> int:
        """So many of the wanted places as the limits leave."""
        left = self.left(*limits)
        return wanted if left is None else min(wanted, left)

    def take(self, line: Line, wanted: int) -> int:
        """Take up to `wanted` places for jobs of the line; answers how many there were."""
        taken = self.within(wanted, *line.limits)
        for limit in line.limits:
            self._left[limit.holder] -= taken
        return taken

    def opens_in(self, line: Line) -> float:
        """Seconds until the pace of starts allows the next; 0 where it does, or is not limited."""
        waits = [self._paces[x.holder].opens_in for x in line.limits if x.holder in self._paces]
        return max(waits, default=0.0)

    def pay(self, started: Mapping[Line, int]) -> None:
        """Move the clocks on for jobs that have just started, by line.

        After the grant: paid at a moment before it, the next start could come too soon.
        """
        starts: Counter[str] = Counter()
        for line, jobs in started.items():
            starts.update({x.holder: jobs for x in line.limits if x.holder in self._paces})
        rows: list[dict[str, str | float]] = [
            {
                "holder": holder,
                "seconds": jobs * self._paces[holder].seconds_each,
                "latest": self._paces[holder].latest,
            }
            for holder, jobs in sorted(starts.items())
            if jobs
        ]
        if rows:
            with connection.cursor() as cursor:
                cursor.executemany(sql(_MOVE_CLOCK), rows)


class _Pace:
    """One limit of starts at one moment."""

    def __init__(self, limit: Limit, now: float, paid_off_at: float) -> None:
        self.seconds_each = 60 / (limit.starts_per_minute or 1)
        self._burst = limit.start_burst
        self.latest = self._burst * self.seconds_each + STEP_SECONDS
        self._ahead = max(0.0, paid_off_at - now)
        if self._ahead > self.latest:
            self._ahead = 0.0

    @property
    def ready(self) -> int:
        # A millionth of a start: what rounding may take from a whole one.
        return math.floor(self._burst - self._ahead / self.seconds_each + 1e-6)

    @property
    def opens_in(self) -> float:
        return max(0.0, self._ahead - (self._burst - 1) * self.seconds_each)


def _paces(limits: Collection[Limit], clocks: Rows) -> dict[str, _Pace]:
    paid_off_at = {holder: at for holder, at, _ in clocks}
    now = clocks[-1][2]
    return {x.holder: _Pace(x, now, paid_off_at.get(x.holder, 0.0)) for x in limits}
