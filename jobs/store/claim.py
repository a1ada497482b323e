"""Ready jobs become running ones, exactly within the limits."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jobs.statuses import TRANSITIONS, Move, Status
from jobs.store.dialect import (
    AS_BY_KEY,
    AS_PLANNED_ONCE,
    BY_KEY,
    Query,
    Rows,
    array_of_numbers,
    as_uuid,
    fetch,
    fetch_all,
    is_postgresql,
    one_writer,
)
from jobs.store.gate import gate
from jobs.store.lines import Line, Mark, Marks, lines_of, marked
from jobs.store.rooms import Rooms


class Share(NamedTuple):
    """How many jobs of a lane a claim may take; the rest as a look found it.

    `only_line` is the line that all of them are in, if its limits are those that a claim at once
    can keep; `limited_tenant` is the tenant to be locked for that, if there are any.
    """

    lane_id: int
    quota: int
    only_line: int | None = None
    limited_tenant: int | None = None


class ClaimedJob(NamedTuple):
    """A job that this worker holds the lease of, with all that it takes to run it.

    `run_at` is in microseconds since 1970. `key_id` is the `TenantKey` that what comes of it is to
    be sealed with, and 0 for a tenant without one. The payload is as it is stored: sealed with the
    key `sealed_with`, if that is not 0.
    """

    id: uuid.UUID
    fence: int
    tenant: str
    tenant_id: int
    lane_id: int
    line_id: int
    queue: str
    task: str
    payload: bytes
    has_args: bool
    priority: int
    attempt: int
    max_retries: int
    lost_count: int
    timeout_seconds: float | None
    waited_seconds: float
    run_at: int
    key_id: int = 0
    sealed_with: int = 0

    @property
    def mark(self) -> Mark:
        """Its place in its line."""
        return Mark(-self.priority, self.run_at, str(self.id))


def claim(
    worker: str,
    shares: Sequence[Share],
    *,
    lease_seconds: float,
    unknown: Collection[str] = (),
    tags: Collection[str] = (),
    after: Marks | None = None,
) -> list[ClaimedJob]:
    """Grant `worker` leases on at most `quota` jobs of each lane; answers them in their order.

    Exact with any number of claimers: what has a limit is locked by one claimer at a time, and
    counted after that; who finds it locked passes it over. Jobs of tasks in `unknown`, and jobs
    that need other tags than `tags`, are left untouched. Lines are read behind the marks of
    `after`. Where every share names its only line, it takes one round trip.
    """
    lease = {"worker": worker, "lease": lease_seconds}
    if is_postgresql() and all(share.only_line for share in shares):
        return claimed(
            fetch_all([*settled(AS_PLANNED_ONCE), *at_once(shares, after or {}, lease)])[-1]
        )
    of_lanes = {share.lane_id: share.quota for share in shares}
    with one_writer():
        found = lines_of(of_lanes, before=gate())
        lines = {line.id: line for line in found if line.suits(unknown, tags)}
        rooms = Rooms(lines.values(), lock=True)
        quotas = _quotas(of_lanes, lines, rooms, after or {})
        jobs = _grant(quotas, after or {}, lease)
        started = Counter(job.line_id for job in jobs)
        rooms.pay({lines[line_id]: count for line_id, count in started.items()})
    return _in_order(jobs)


def settled(*more: str) -> list[Query]:
    """What comes first in a claim at once: the gate, how rows are found, and `more` settings."""
    settings = ", ".join([AS_BY_KEY, *more])
    return [(f"{statement}, {settings}", {}) for statement in gate()]


def at_once(shares: Sequence[Share], after: Marks, lease: Mapping[str, Any]) -> list[Query]:
    """The rest of a claim at once, of shares that name their only line; `claimed` tells its rows.

    `lease` names the `worker`, and the seconds of its `lease`.
    """
    quotas = {share.only_line: share.quota for share in shares if share.only_line}
    tenants = {share.limited_tenant for share in shares if share.limited_tenant}
    grant = (_GRANT_AT_ONCE, {**_shares(quotas, after), **lease})
    return [(_LOCK_TENANTS, {"tenants": array_of_numbers(tenants)}), grant] if tenants else [grant]


def claimed(rows: Rows) -> list[ClaimedJob]:
    """The jobs that PostgreSQL has granted, in their order."""
    return _in_order(ClaimedJob._make(row) for row in rows)


def _in_order(jobs: Iterable[ClaimedJob]) -> list[ClaimedJob]:
    return sorted(jobs, key=lambda job: (-job.priority, job.run_at, job.id.int))


def _quotas(
    of_lanes: Mapping[int, int], lines: Mapping[int, Line], rooms: Rooms, after: Marks
) -> dict[int, int]:
    """How many jobs of each line may be taken within its limits: of each lane the best."""
    taken: Counter[int] = Counter()
    of_lane: dict[int, list[Line]] = defaultdict(list)
    for line in lines.values():
        of_lane[line.lane_id].append(line)
    best = _best(of_lanes, of_lane, rooms, after)
    for lane_id, own in of_lane.items():
        quota = of_lanes[lane_id]
        if lane_id not in best:
            taken[own[0].id] = rooms.take(own[0], quota)
            continue
        for line_id in best[lane_id]:
            if quota and rooms.take(lines[line_id], 1):
                taken[line_id] += 1
                quota -= 1
    return +taken


def _best(
    quotas: Mapping[int, int], of_lane: Mapping[int, Sequence[Line]], rooms: Rooms, after: Marks
) -> dict[int, list[int]]:
    """The lines of the best ready jobs, job by job, of lanes where lines share places.

    Those are the lanes with several lines, and those whose task has a limit in common with others.
    """
    limits = {
        line: (line.task_limit, line.shared_limit) for own in of_lane.values() for line in own
    }
    users = Counter(limit.holder for both in limits.values() for limit in both if limit)
    best: dict[int, list[int]] = {
        lane_id: []
        for lane_id, own in of_lane.items()
        if len(own) > 1 or any(limit and users[limit.holder] > 1 for limit in limits[own[0]])
    }
    chosen = {line.id: line for line in limits if line.lane_id in best}
    most = {key: rooms.within(quotas[x.lane_id], *x.limits) for key, x in chosen.items()}
    for *_, line_id in sorted(_heads({key: jobs for key, jobs in most.items() if jobs}, after)):
        best[chosen[line_id].lane_id].append(line_id)
    return best


def _ready(lane: str, line: str, quota: str, place: str, behind: str = "") -> str:
    """The best ready jobs of a line; its index has them in this order."""
    return f"""
    SELECT id, priority * -1 AS rank, run_at, line_id, {place} AS place FROM jobs_job
    WHERE lane_id = {lane} AND line_id = {line} AND status = '{Status.PENDING}' {behind}
    ORDER BY priority * -1, run_at, id LIMIT {quota}"""


_BEHIND_MARK = """
        AND (priority * -1, run_at, id) > (share.rank, TIME_OF(share.run_at), share.job_id)"""
_READY_POSTGRESQL = _ready("share.lane_id", "share.line_id", "share.quota", "ctid", _BEHIND_MARK)
_READY_SQLITE = _ready(
    "(SELECT lane_id FROM jobs_line WHERE id = %(line)s)", "%(line)s", "%(quota)s", "rowid"
)


def _given(quota: str, conditions: str = "") -> str:
    """The given shares.

    OFFSET keeps the joins in this order: without statistics, PostgreSQL begins with all tenants.
    """
    return f"""
    SELECT given.line_id, line.lane_id, {quota} AS quota, given.rank, given.run_at, given.job_id,
        tenant.slug, tenant.key_id, line.key_id AS sealed_with
    FROM unnest(
        %(lines)s::bigint[], %(quotas)s::int[], %(ranks)s::int[], %(times)s::bigint[],
        %(jobs)s::uuid[]
    ) AS given (line_id, quota, rank, run_at, job_id)
    CROSS JOIN LATERAL (SELECT * FROM jobs_line WHERE id = given.line_id OFFSET 0) AS line
    CROSS JOIN LATERAL (SELECT * FROM jobs_lane WHERE id = line.lane_id OFFSET 0) AS lane
    CROSS JOIN LATERAL (
        SELECT * FROM jobs_tenant WHERE id = lane.tenant_id OFFSET 0
    ) AS tenant {conditions}"""


_GIVEN = _given("given.quota")

# What another claimer has locked is passed over: nobody waits, and who did not get the lock gets no
# job. The grant comes after it, as a statement of its own: one that locks and counts would count
# what was there when it began, and two claimers see the last free place.
_LOCK_TENANTS = f"""
SELECT set_config(
    'jobqueue.locked', '{{' || coalesce(string_agg(id::text, ','), '') || '}}', TRUE
), {AS_PLANNED_ONCE}
FROM (
    SELECT id FROM jobs_tenant WHERE id = ANY(%(tenants)s::bigint[]) ORDER BY id LOCK SKIPPING ROWS
) AS locked"""
_IS_LOCKED = "tenant.id = ANY(nullif(current_setting('jobqueue.locked', TRUE), '')::bigint[])"
_IS_RUNNING = f"tenant_id = tenant.id AND status = '{Status.RUNNING}'"
# What earlier lines of the tenant may take is not there for the later ones.
_PLACES = f"""
    CASE WHEN lane.max_running IS NULL AND tenant.max_running IS NULL THEN given.quota
    WHEN {_IS_LOCKED} THEN greatest(0, least(
        given.quota,
        lane.max_running - (
            SELECT count(*) FROM jobs_job WHERE {_IS_RUNNING} AND lane_id = lane.id),
        tenant.max_running - (SELECT count(*) FROM jobs_job WHERE {_IS_RUNNING})
            - coalesce(sum(given.quota) OVER (
                PARTITION BY tenant.id ORDER BY line.id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
    ))
    ELSE 0 END"""
# Of the given shares, those that are open and under no other limit at this moment.
_OPEN = """
    WHERE NOT lane.is_paused AND tenant.is_active
        AND lane.starts_per_minute IS NULL AND tenant.starts_per_minute IS NULL
        AND NOT EXISTS (
            SELECT 1 FROM jobs_tasklimit AS task_limit
            WHERE task_limit.task = line.task
                AND (task_limit.tenant_id IS NULL OR task_limit.tenant_id = tenant.id))"""

_HEADS = f"""
WITH share AS MATERIALIZED ({_GIVEN})
SELECT ready.rank, ready.run_at, ready.id, ready.line_id
FROM share CROSS JOIN LATERAL ({_READY_POSTGRESQL}) AS ready"""

_GRANTED = f"""
    status = '{TRANSITIONS[Move.CLAIM].target}', attempt = jobs_job.attempt + 1,
    fence = jobs_job.fence + 1, worker = %(worker)s,
    started_at = LATER(STATEMENT_TIME(), jobs_job.run_at),
    lease_expires_at = IN_SECONDS(%(lease)s)"""
_RETURNED = """
    lane_id, line_id, queue, task, payload, has_args, priority, attempt, max_retries, lost_count,
    timeout_seconds, SECONDS(run_at, started_at) AS waited, MICROSECONDS(run_at) AS run_at"""


def _grant_to(shares: str) -> str:
    # MATERIALIZED: a planner that runs the locking part again takes more jobs than the quota. An
    # array, and not a join: the planner takes a tenth of all ready jobs for the quota, and would
    # rather read the whole table than go to so many rows. Rows by their places: they are locked,
    # so that they stay there, and no index has to be asked once more.
    return f"""
WITH share AS MATERIALIZED ({shares}),
best AS MATERIALIZED (
    SELECT ready.place
    FROM share CROSS JOIN LATERAL ({_READY_POSTGRESQL} FOR UPDATE SKIP LOCKED) AS ready
),
granted AS (
    UPDATE jobs_job SET {_GRANTED} WHERE ctid = ANY(ARRAY(SELECT place FROM best))
    RETURNING id, fence, tenant_id, {_RETURNED}
)
SELECT granted.id, granted.fence, share.slug, granted.tenant_id, granted.lane_id, granted.line_id,
    granted.queue, granted.task, granted.payload, granted.has_args, granted.priority,
    granted.attempt, granted.max_retries, granted.lost_count, granted.timeout_seconds,
    granted.waited, granted.run_at, share.key_id, share.sealed_with
FROM granted JOIN share ON share.line_id = granted.line_id"""


_GRANT, _GRANT_AT_ONCE = _grant_to(_GIVEN), _grant_to(_given(_PLACES, _OPEN))

_GRANT_SQLITE = f"""
UPDATE jobs_job SET {_GRANTED} WHERE rowid IN (SELECT place FROM ({_READY_SQLITE}))
RETURNING id, fence, (SELECT slug FROM jobs_tenant WHERE jobs_tenant.id = tenant_id), tenant_id,
    {_RETURNED}, (SELECT key_id FROM jobs_tenant WHERE jobs_tenant.id = tenant_id),
    (SELECT key_id FROM jobs_line WHERE jobs_line.id = line_id)"""


def _grant(quotas: Mapping[int, int], after: Marks, lease: Mapping[str, Any]) -> list[ClaimedJob]:
    """Grant leases on up to so many of the best jobs of each line."""
    if not quotas:
        return []
    if is_postgresql():
        return claimed(fetch(_GRANT, {**_shares(quotas, after), **lease}, before=[BY_KEY]))
    rows = [
        row
        for line_id, quota in quotas.items()
        for row in fetch(_GRANT_SQLITE, {"line": line_id, "quota": quota, **lease})
    ]
    return [_job(row) for row in rows]


def _job(row: tuple[Any, ...]) -> ClaimedJob:
    """From a row of SQLite, which has neither UUIDs nor booleans."""
    values = list(row)
    values[_ID], values[_HAS_ARGS] = as_uuid(row[_ID]), bool(row[_HAS_ARGS])
    return ClaimedJob._make(values)


_ID, _HAS_ARGS = map(ClaimedJob._fields.index, ("id", "has_args"))


def _heads(quotas: Mapping[int, int], after: Marks) -> list[tuple[Any, ...]]:
    """The best ready jobs of each line, as their places and their lines."""
    if not quotas:
        return []
    if is_postgresql():
        return fetch(_HEADS, _shares(quotas, after))
    return [
        (rank, run_at, job_id, line_id)
        for line, quota in quotas.items()
        for job_id, rank, run_at, line_id, _ in fetch(_READY_SQLITE, {"line": line, "quota": quota})
    ]


def _shares(quotas: Mapping[int, int], after: Marks) -> dict[str, Any]:
    return marked(quotas, after) | {"quotas": array_of_numbers(quotas.values())}
