"""How many jobs may start now: what runs is counted, and starts are paced.

Starts are paced by GCRA, the "generic cell rate algorithm" (ITU-T I.371, annex A): a clock per
limit says when the starts that there were are paid off at the limit's rate; it may be ahead of the
present by as much as the burst takes to pay off.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from django.db import connection

from jobs.statuses import Status
from jobs.store.dialect import array, fetch, sql
from jobs.store.lines import Limit, Line


class Rooms:
    """The places that the limits of some lines leave, to be taken one after the other.

    Exact for as long as their tenants and shared limits are locked, and a guess otherwise.
    """

    def __init__(self, lines: Collection[Line]) -> None:
        limits = {limit.holder: limit for line in lines for limit in line.limits}
        counted = [limit for limit in limits.values() if limit.max_running is not None]
        self._paces = _paces(limit for limit in limits.values() if limit.starts_per_minute)
        used = _running(lines) if counted else Counter[str]()
        self._left: dict[str, int] = {h: pace.ready for h, pace in self._paces.items()}
        for limit in counted:
            places = (limit.max_running or 0) - used[limit.holder]
            self._left[limit.holder] = min(places, self._left.get(limit.holder, places))

    def left(self, *limits: Limit | None) -> int | None:
        """The places that all of the limits leave; None where there is no limit."""
        places = [self._left[limit.holder] for limit in limits if limit]
        return max(0, min(places)) if places else None

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
        """Move the clocks on for jobs that start now, by line."""
        starts: Counter[str] = Counter()
        for line, jobs in started.items():
            starts.update({x.holder: jobs for x in line.limits if x.holder in self._paces})
        rows: list[dict[str, str | float]] = [
            {"holder": holder, "paid_off_at": self._paces[holder].after(jobs)}
            for holder, jobs in sorted(starts.items())
            if jobs
        ]
        if rows:
            with connection.cursor() as cursor:
                cursor.executemany(sql(_MOVE_CLOCK), rows)


_MOVE_CLOCK = """
INSERT INTO jobs_startclock (holder, paid_off_at) VALUES (%(holder)s, %(paid_off_at)s)
ON CONFLICT (holder) DO UPDATE SET paid_off_at = excluded.paid_off_at"""

_CLOCKS = """
SELECT holder, paid_off_at, MOMENT() FROM jobs_startclock WHERE holder = ANY(%(holders)s)
UNION ALL SELECT '', 0, MOMENT()"""


class _Pace:
    """One limit of starts at one moment."""

    def __init__(self, limit: Limit, now: float, paid_off_at: float) -> None:
        self._seconds_each = 60 / (limit.starts_per_minute or 1)
        self._burst = limit.start_burst
        self._at = max(now, paid_off_at)
        self._ahead = self._at - now

    @property
    def ready(self) -> int:
        # A millionth of a start: what rounding may take from a whole one.
        return math.floor(self._burst - self._ahead / self._seconds_each + 1e-6)

    @property
    def opens_in(self) -> float:
        return max(0.0, self._ahead - (self._burst - 1) * self._seconds_each)

    def after(self, starts: int) -> float:
        return self._at + starts * self._seconds_each


def _paces(limits: Iterable[Limit]) -> dict[str, _Pace]:
    of_holder = {limit.holder: limit for limit in limits}
    if not of_holder:
        return {}
    rows = fetch(_CLOCKS, {"holders": array(of_holder)})
    clocks = {holder: paid_off_at for holder, paid_off_at, _ in rows}
    now = rows[-1][2]
    return {holder: _Pace(x, now, clocks.get(holder, 0.0)) for holder, x in of_holder.items()}


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


def _running(lines: Collection[Line]) -> Counter[str]:
    """The running jobs under each limit of the lines, by its holder."""
    used: Counter[str] = Counter()
    of_task = {(x.tenant_id, x.task): x.task_limit.holder for x in lines if x.task_limit}
    shared = {x.task: x.shared_limit.holder for x in lines if x.shared_limit}
    tenants = {line.tenant_id for line in lines if line.limits}
    for tenant_id, lane_id, task, jobs in fetch(_RUNNING, {"tenants": array(tenants)}):
        for holder in (f"T{tenant_id}", f"L{lane_id}", of_task.get((tenant_id, task), "")):
            used[holder] += jobs
    if shared:
        for task, jobs in fetch(_RUNNING_OF_ALL, {"tasks": array(shared)}):
            used[shared[task]] += jobs
    return used


_LOCK_TENANTS = """
SELECT id FROM jobs_tenant WHERE id = ANY(%(ids)s) ORDER BY id LOCK SKIPPING ROWS"""
_LOCK_TASK_LIMITS = """
SELECT id FROM jobs_tasklimit WHERE id = ANY(%(ids)s) ORDER BY id LOCK SKIPPING ROWS"""


def locked(lines: Collection[Line]) -> list[Line]:
    """Those of the lines that may be claimed from: without limits, or whose limits are now locked.

    Who finds a limit locked by another claimer passes its lines over: nobody waits. Count what runs
    only after this, in statements of their own: the locking statement would count what was there
    when it began, and two claimers could both see the last free place.
    """
    tenants = _lock(_LOCK_TENANTS, {line.tenant_id for line in lines if line.limits})
    shared = _lock(_LOCK_TASK_LIMITS, {_shared(line) for line in lines if line.shared_limit})
    return [
        line
        for line in lines
        if not line.limits
        or (line.tenant_id in tenants and (not line.shared_limit or _shared(line) in shared))
    ]


def _shared(line: Line) -> int:
    return int(line.shared_limit.holder[1:]) if line.shared_limit else 0


def _lock(statement: str, ids: Collection[int]) -> set[int]:
    if not ids:
        return set()
    return {key for (key,) in fetch(statement, {"ids": array(ids)})}
