"""Ready jobs become running ones: look which lanes have work, share it out, claim."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection, transaction

from jobs.statuses import TRANSITIONS, Move, Status
from jobs.store.dialect import array, as_uuid, fetch, is_postgresql, sql
from jobs.store.gate import pass_gate


class ReadyLane(NamedTuple):
    """A lane with ready jobs that could start now.

    `room` is what the lane's own limit leaves, `tenant_room` what all lanes of its tenant have
    together; None where there is no limit.
    """

    lane_id: int
    tenant_id: int
    weight: int
    tenant_weight: int
    room: int | None
    tenant_room: int | None


class Share(NamedTuple):
    """How many jobs of a lane a claim may take."""

    lane_id: int
    quota: int


class ClaimedJob(NamedTuple):
    """A job that this worker holds the lease of, with all that it takes to run it."""

    id: uuid.UUID
    fence: int
    tenant: str
    tenant_id: int
    lane_id: int
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


_OPEN_LANES = f"""
WITH RECURSIVE ready(lane_id) AS (
    SELECT min(lane_id) FROM jobs_job WHERE status = '{Status.PENDING}'
    UNION ALL
    SELECT (SELECT min(lane_id) FROM jobs_job
            WHERE status = '{Status.PENDING}' AND lane_id > ready.lane_id)
    FROM ready WHERE ready.lane_id IS NOT NULL
),
running AS (
    SELECT tenant_id, lane_id, count(*) AS jobs FROM jobs_job
    WHERE status = '{Status.RUNNING}' GROUP BY tenant_id, lane_id
),
running_of_tenant AS (
    SELECT tenant_id, sum(jobs) AS jobs FROM running GROUP BY tenant_id
)
SELECT lane.queue, lane.id, lane.tenant_id, lane.weight, tenant.weight,
    lane.max_running - coalesce(running.jobs, 0),
    tenant.max_running - coalesce(running_of_tenant.jobs, 0)
FROM ready
JOIN jobs_lane AS lane ON lane.id = ready.lane_id
JOIN jobs_tenant AS tenant ON tenant.id = lane.tenant_id
LEFT JOIN running ON running.lane_id = lane.id
LEFT JOIN running_of_tenant ON running_of_tenant.tenant_id = lane.tenant_id
WHERE NOT lane.is_paused AND tenant.is_active"""


def ready_lanes(queues: Collection[str] = ()) -> list[ReadyLane]:
    """The lanes that have ready jobs and, as far as can be seen, room for them.

    Only a look: the claim decides again under its locks. `queues` of nothing means all. Lanes are
    found by skipping from one to the next in the index of ready jobs ("loose index scan"), so the
    cost grows with the lanes that have work and not with the jobs.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql(_OPEN_LANES), {})
        rows = cursor.fetchall()
    lanes = []
    for queue, lane_id, tenant_id, weight, tenant_weight, *rooms in rows:
        room, tenant_room = (None if room is None else int(room) for room in rooms)
        has_room = all(left is None or left > 0 for left in (room, tenant_room))
        if has_room and (not queues or queue in queues):
            lanes.append(ReadyLane(lane_id, tenant_id, weight, tenant_weight, room, tenant_room))
    return lanes


def claim(
    worker: str, shares: Sequence[Share], *, lease_seconds: float, unknown: Collection[str] = ()
) -> list[ClaimedJob]:
    """Grant `worker` leases on at most `quota` jobs of each lane, best first.

    Exact with any number of claimers: tenants with a limit are locked one claimer each, and their
    running jobs are counted after the lock is held; who finds a tenant locked passes it over.
    Tasks in `unknown` are left untouched.
    """
    with transaction.atomic():
        pass_gate()
        lanes = _open_lanes([share.lane_id for share in shares])
        quotas = _within_limits(shares, lanes)
        if not quotas:
            return []
        return sorted(
            _grant(worker, quotas, lanes, lease_seconds=lease_seconds, unknown=unknown),
            key=lambda job: (-job.priority, -job.waited_seconds, job.id),
        )


@dataclass(frozen=True, slots=True)
class _Lane:
    id: int
    tenant_id: int
    tenant: str
    max_running: int | None
    tenant_max_running: int | None

    @property
    def is_limited(self) -> bool:
        return self.max_running is not None or self.tenant_max_running is not None


_SETTINGS = """
SELECT lane.id, lane.tenant_id, tenant.slug, lane.max_running, tenant.max_running
FROM jobs_lane AS lane JOIN jobs_tenant AS tenant ON tenant.id = lane.tenant_id
WHERE lane.id = ANY(%(lanes)s) AND NOT lane.is_paused AND tenant.is_active"""


def _open_lanes(lane_ids: Sequence[int]) -> dict[int, _Lane]:
    with connection.cursor() as cursor:
        cursor.execute(sql(_SETTINGS), {"lanes": array(lane_ids)})
        return {row[0]: _Lane(*row) for row in cursor.fetchall()}


def _within_limits(shares: Sequence[Share], lanes: Mapping[int, _Lane]) -> list[Share]:
    """The shares cut to what the limits allow, the limited tenants among them now locked."""
    limited = {lane.tenant_id for lane in lanes.values() if lane.is_limited}
    room = _Room(_lock(limited)) if limited else None
    cut = []
    for share in shares:
        lane = lanes.get(share.lane_id)
        quota = 0 if lane is None else share.quota
        if lane is not None and room is not None and lane.tenant_id in limited:
            quota = room.take(lane, quota)
        if quota > 0:
            cut.append(Share(share.lane_id, quota))
    return cut


_LOCK_TENANTS = """
SELECT id FROM jobs_tenant WHERE id = ANY(%(tenants)s) ORDER BY id LOCK SKIPPING ROWS"""


def _lock(tenant_ids: Collection[int]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(sql(_LOCK_TENANTS), {"tenants": array(tenant_ids)})
        return {tenant_id for (tenant_id,) in cursor.fetchall()}


# A statement of its own, after the lock: in the locking statement the count would be as old as its
# snapshot, and two claimers could both see the last free place.
_COUNT_RUNNING = f"""
SELECT tenant_id, lane_id, count(*) FROM jobs_job
WHERE tenant_id = ANY(%(tenants)s) AND status = '{Status.RUNNING}' GROUP BY tenant_id, lane_id"""


class _Room:
    """The places left in tenants that this transaction has locked."""

    def __init__(self, locked: set[int]) -> None:
        self._locked = locked
        self._of_tenant = dict.fromkeys(locked, 0)
        self._of_lane: dict[int, int] = {}
        with connection.cursor() as cursor:
            cursor.execute(sql(_COUNT_RUNNING), {"tenants": array(locked)})
            for tenant_id, lane_id, running in cursor.fetchall():
                self._of_tenant[tenant_id] += running
                self._of_lane[lane_id] = running

    def take(self, lane: _Lane, wanted: int) -> int:
        """Take up to `wanted` places of the lane; answers how many there were."""
        if lane.tenant_id not in self._locked:
            return 0
        running = self._of_lane.get(lane.id, 0)
        taken = wanted
        if lane.tenant_max_running is not None:
            taken = min(taken, lane.tenant_max_running - self._of_tenant[lane.tenant_id])
        if lane.max_running is not None:
            taken = min(taken, lane.max_running - running)
        taken = max(taken, 0)
        self._of_tenant[lane.tenant_id] += taken
        self._of_lane[lane.id] = running + taken
        return taken


_GRANTED = f"""
    status = '{TRANSITIONS[Move.CLAIM].target}', attempt = jobs_job.attempt + 1,
    fence = jobs_job.fence + 1, worker = %(worker)s,
    started_at = LATER(STATEMENT_TIME(), jobs_job.run_at),
    lease_expires_at = IN_SECONDS(%(lease)s)"""
_RETURNED = """
    jobs_job.id, jobs_job.fence, jobs_job.lane_id, jobs_job.queue, jobs_job.task, jobs_job.payload,
    jobs_job.has_args, jobs_job.priority, jobs_job.attempt, jobs_job.max_retries,
    jobs_job.lost_count, jobs_job.timeout_seconds, SECONDS(jobs_job.run_at, jobs_job.started_at)"""

# MATERIALIZED: a planner that runs the locking part again takes more jobs than the quota. An array,
# and not a join: the planner takes a tenth of all ready jobs for the quota, and would rather read
# the whole table than go to the keys of so many.
_GRANT_POSTGRESQL = f"""
WITH best AS MATERIALIZED (
    SELECT ready.id
    FROM unnest(%(lanes)s::bigint[], %(quotas)s::int[]) AS share (lane_id, quota)
    CROSS JOIN LATERAL (
        SELECT id FROM jobs_job
        WHERE lane_id = share.lane_id AND status = '{Status.PENDING}' AND task <> ALL(%(unknown)s)
        ORDER BY priority DESC, run_at, id LIMIT share.quota FOR UPDATE SKIP LOCKED
    ) AS ready
)
UPDATE jobs_job SET {_GRANTED} WHERE id = ANY(ARRAY(SELECT id FROM best))
RETURNING {_RETURNED}"""

_GRANT_SQLITE = f"""
UPDATE jobs_job SET {_GRANTED} WHERE id IN (
    SELECT id FROM jobs_job
    WHERE lane_id = %(lane)s AND status = '{Status.PENDING}'
        AND task NOT IN (SELECT value FROM json_each(%(unknown)s))
    ORDER BY priority DESC, run_at, id LIMIT %(quota)s
)
RETURNING {_RETURNED}"""


def _grant(
    worker: str,
    shares: Sequence[Share],
    lanes: Mapping[int, _Lane],
    *,
    lease_seconds: float,
    unknown: Collection[str],
) -> Iterator[ClaimedJob]:
    parameters = {"worker": worker, "lease": lease_seconds, "unknown": array(unknown)}
    rows = []
    if is_postgresql():
        parameters["lanes"] = [share.lane_id for share in shares]
        parameters["quotas"] = [share.quota for share in shares]
        rows = fetch(_GRANT_POSTGRESQL, parameters)
    else:
        for lane_id, quota in shares:
            rows += fetch(_GRANT_SQLITE, parameters | {"lane": lane_id, "quota": quota})
    for job_id, fence, lane_id, queue, task, payload, has_args, *rest in rows:
        lane = lanes[lane_id]
        yield ClaimedJob(
            as_uuid(job_id), fence, lane.tenant, lane.tenant_id, lane_id, queue, task,
            payload, bool(has_args), *rest,
        )  # fmt: skip
