"""Lines, with all that decides whether their jobs may start now."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from jobs.data_keys import openable
from jobs.statuses import Status
from jobs.store.dialect import BY_KEY, array, array_of_numbers, fetch, is_postgresql


class Mark(NamedTuple):
    """The place of a job in its line: by minus its priority, by `run_at` (µs since 1970), by id.

    Who begins behind the last job that was claimed need not pass the entries of those before it,
    which stay in the index for as long as an open transaction may see them.
    """

    rank: int
    run_at: int
    job_id: str


Marks = Mapping[int, Mark]
"""Marks by line; where a line has none, it is read from its beginning."""

_BEFORE_ALL = Mark(-1_000, -(2**53), "00000000-0000-0000-0000-000000000000")


class Limit(NamedTuple):
    """A limit in force. `holder` says whose: T and a tenant's id, L a lane's, K a task limit's."""

    holder: str
    key: int
    max_running: int | None
    starts_per_minute: int | None
    start_burst: int


class Line(NamedTuple):
    """The jobs of a lane that the same workers can run, with its settings and its tenant's.

    `task_limit` is that of its tenant, `shared_limit` that of all tenants together; `limits` holds
    those that there are.
    """

    id: int
    lane_id: int
    tenant_id: int
    queue: str
    task: str
    worker_tags: str
    weight: int
    tenant_weight: int
    tenant_limit: Limit | None
    lane_limit: Limit | None
    task_limit: Limit | None
    shared_limit: Limit | None
    limits: tuple[Limit, ...]

    def suits(self, unknown: Collection[str], tags: Collection[str]) -> bool:
        """Whether a worker with these tags, that does not know those tasks, can run its jobs."""
        if self.task in unknown:
            return False
        return not self.worker_tags or set(self.worker_tags.split(",")).issubset(tags)


_SETTINGS = """
    line.id, line.lane_id, lane.tenant_id, lane.queue, line.task, line.worker_tags, lane.weight,
    tenant.weight,
    tenant.id, tenant.max_running, tenant.starts_per_minute, tenant.start_burst,
    lane.id, lane.max_running, lane.starts_per_minute, lane.start_burst,
    own.id, own.max_running, own.starts_per_minute, own.start_burst,
    shared.id, shared.max_running, shared.starts_per_minute, shared.start_burst,
    line.key_id, tenant.key_id"""
_KEYS = slice(24, 26)
_OPEN = """
JOIN jobs_lane AS lane ON lane.id = line.lane_id AND NOT lane.is_paused
JOIN jobs_tenant AS tenant ON tenant.id = lane.tenant_id AND tenant.is_active
LEFT JOIN jobs_tasklimit AS own ON own.tenant_id = tenant.id AND own.task = line.task
LEFT JOIN jobs_tasklimit AS shared ON shared.tenant_id IS NULL AND shared.task = line.task"""

_LINES_OF = f"""
SELECT {_SETTINGS} FROM jobs_line AS line {_OPEN} WHERE line.lane_id = ANY(%(lanes)s)"""


def lines_of(lane_ids: Iterable[int], *, before: Iterable[str] = ()) -> list[Line]:
    """The lines of those of the lanes that are not paused, with ready jobs or without, by id.

    Left out, here and among the ready ones, are those with a key that this process cannot open: it
    could neither read their payloads nor keep what comes of them.
    """
    return _open_lines(sorted(fetch(_LINES_OF, {"lanes": array(lane_ids)}, before=before)))


# A "loose index scan": from one line with ready jobs to the next, so that the cost grows with the
# lines that have work, and not with the jobs or with the lines that there are.
_READY_POSTGRESQL = f"""
WITH RECURSIVE ready (lane_id, line_id) AS (
    (SELECT lane_id, line_id FROM jobs_job WHERE status = '{Status.PENDING}'
    ORDER BY lane_id, line_id LIMIT 1)
    UNION ALL
    SELECT following.lane_id, following.line_id FROM ready CROSS JOIN LATERAL (
        SELECT lane_id, line_id FROM jobs_job
        WHERE status = '{Status.PENDING}'
            AND (lane_id, line_id) > (ready.lane_id, ready.line_id)
        ORDER BY lane_id, line_id LIMIT 1
    ) AS following
)
SELECT {_SETTINGS} FROM ready JOIN jobs_line AS line ON line.id = ready.line_id {_OPEN}"""

_READY_AFTER_MARKS = f"""
SELECT {_SETTINGS}
FROM jobs_line AS line
LEFT JOIN unnest(%(lines)s::bigint[], %(ranks)s::int[], %(times)s::bigint[], %(jobs)s::uuid[])
    AS mark (line_id, rank, run_at, job_id) ON mark.line_id = line.id
CROSS JOIN LATERAL (
    SELECT 1 FROM jobs_job
    WHERE lane_id = line.lane_id AND line_id = line.id AND status = '{Status.PENDING}'
        AND (priority * -1, run_at, id) > (
            coalesce(mark.rank, -1000), TIME_OF(coalesce(mark.run_at, 0)),
            coalesce(mark.job_id, '00000000-0000-0000-0000-000000000000'))
    LIMIT 1
) AS ready
{_OPEN}"""

_READY_SQLITE = f"""
SELECT {_SETTINGS} FROM jobs_line AS line {_OPEN}
WHERE EXISTS (
    SELECT 1 FROM jobs_job
    WHERE lane_id = line.lane_id AND line_id = line.id AND status = '{Status.PENDING}')"""


def ready_lines(after: Marks) -> list[Line]:
    """The lines with ready jobs, behind the marks, whose lane is not paused."""
    if not is_postgresql():
        rows = fetch(_READY_SQLITE, {})
    elif after:
        rows = fetch(_READY_AFTER_MARKS, marked(after, after), before=[BY_KEY])
    else:
        rows = fetch(_READY_POSTGRESQL, {})
    return _open_lines(rows)


def marked(line_ids: Collection[int], after: Marks) -> dict[str, Any]:
    """The lines with their marks, as parameters for `unnest`."""
    marks = [after.get(line_id, _BEFORE_ALL) for line_id in line_ids]
    return {
        "lines": array_of_numbers(line_ids),
        "ranks": array_of_numbers(mark.rank for mark in marks),
        "times": array_of_numbers(mark.run_at for mark in marks),
        "jobs": f"{{{','.join(mark.job_id for mark in marks)}}}",
    }


def _open_lines(rows: Collection[tuple[Any, ...]]) -> list[Line]:
    keys = {key_id for row in rows for key_id in row[_KEYS]} - {0}
    shut = keys - openable(keys) if keys else keys
    return [_line(row) for row in rows if not shut or shut.isdisjoint(row[_KEYS])]


def _line(row: tuple[Any, ...]) -> Line:
    four = (
        _limit("T", *row[8:12]),
        _limit("L", *row[12:16]),
        _limit("K", *row[16:20]),
        _limit("K", *row[20:24]),
    )
    return Line._make((*row[:8], *four, tuple(limit for limit in four if limit)))


def _limit(
    kind: str, key: int, max_running: int | None, starts_per_minute: int | None, start_burst: int
) -> Limit | None:
    if max_running is None and starts_per_minute is None:
        return None
    return Limit(f"{kind}{key}", key, max_running, starts_per_minute, start_burst)
