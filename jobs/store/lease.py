"""Leases in force: extended, given back, taken away; and jobs whose time has come."""

import math
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection, transaction

from jobs.conf import conf
from jobs.statuses import TRANSITIONS, AttemptOutcome, Move, Reason, Status
from jobs.store.claim import ClaimedJob
from jobs.store.dialect import (
    BY_KEY,
    Rows,
    as_uuid,
    fetch,
    find_rows_by_key,
    is_postgresql,
    scalar,
    sql,
    unless_frozen,
)
from jobs.store.finish import Outcome, finish
from jobs.store.minutes import LaneKey, count_cancelled


class Lease(NamedTuple):
    """The right to act for a job."""

    job_id: uuid.UUID
    fence: int


_EXTEND = f"""
UPDATE jobs_job SET lease_expires_at = IN_SECONDS(%(lease)s)
WHERE id = %(id)s AND fence = %(fence)s AND status || '' = '{Status.RUNNING}'
RETURNING id, cancel_requested"""

_HELD_JOBS = f"""
    FROM unnest(%(id)s::uuid[], %(fence)s::bigint[]) AS held (id, fence)
    JOIN jobs_job ON jobs_job.id = held.id AND jobs_job.fence = held.fence
        AND jobs_job.status || '' = '{Status.RUNNING}'"""

# It waits for no row: for that of one job, the leases of all others could run out.
_EXTEND_POSTGRESQL = f"""
WITH free AS (
    SELECT jobs_job.id {_HELD_JOBS}
    FOR NO KEY UPDATE OF jobs_job SKIP LOCKED
),
extended AS (
    UPDATE jobs_job SET lease_expires_at = IN_SECONDS(%(lease)s)
    FROM free WHERE jobs_job.id = free.id
    RETURNING jobs_job.id, jobs_job.cancel_requested
)
SELECT id, bool_or(cancel_requested) FROM (
    SELECT id, cancel_requested FROM extended
    UNION ALL
    SELECT jobs_job.id, NULL {_HELD_JOBS}
) AS answered
GROUP BY id"""


def extend(leases: Sequence[Lease], *, lease_seconds: float) -> dict[uuid.UUID, bool | None]:
    """The heartbeat: extend the leases that are still held.

    Answers for each of them whether its cancellation was asked for; a job that is not in the answer
    has been lost. None stands for a lease that is held and was not extended, as somebody is writing
    the job: that is left to the next call.
    """
    leases = sorted(leases)
    if is_postgresql():
        given = _columns(leases) | {"lease": lease_seconds}
        rows = fetch(_EXTEND_POSTGRESQL, given, before=[BY_KEY])
        return {as_uuid(job_id): is_cancelled for job_id, is_cancelled in rows}
    rows = _one_by_one(_EXTEND, leases, lease=lease_seconds)
    return {as_uuid(job_id): bool(is_cancelled) for job_id, is_cancelled in rows}


_BEAT = """
UPDATE jobs_worker SET seen_at = NOW(), running = %(running)s, memory_bytes = %(memory)s
WHERE id = %(worker)s RETURNING asked_to"""


def beat(worker: str, *, running: int, memory_bytes: int) -> str | None:
    """Note that a worker process is there; answers what it is asked to do, None if it has no row.

    One statement, as an idle node does little else.
    """
    rows = fetch(_BEAT, {"worker": worker, "running": running, "memory": memory_bytes})
    return str(rows[0][0]) if rows else None


_RELEASED = f"""
    status = CASE WHEN jobs_job.cancel_requested
        THEN '{Status.CANCELLED}' ELSE '{TRANSITIONS[Move.RELEASE].target}' END,
    finished_at = CASE WHEN jobs_job.cancel_requested THEN NOW() ELSE NULL END,
    attempt = jobs_job.attempt - 1, worker = '', started_at = NULL, lease_expires_at = NULL"""

_RELEASE = f"""
UPDATE jobs_job SET {_RELEASED}
WHERE id = %(id)s AND fence = %(fence)s AND status || '' = '{Status.RUNNING}'
RETURNING id, status, lane_id, tenant_id"""

_RELEASE_POSTGRESQL = f"""
UPDATE jobs_job SET {_RELEASED}
FROM unnest(%(id)s::uuid[], %(fence)s::bigint[]) AS held (id, fence)
WHERE jobs_job.id = held.id AND jobs_job.fence = held.fence
    AND jobs_job.status || '' = '{Status.RUNNING}'
RETURNING jobs_job.id, jobs_job.status, jobs_job.lane_id, jobs_job.tenant_id"""


def release(leases: Sequence[Lease]) -> set[uuid.UUID]:
    """Give jobs back with their attempt unspent; answers the ids of those still held.

    One whose cancellation was asked for ends as cancelled instead, and is counted as that.
    """
    with transaction.atomic():
        rows = _release(sorted(leases))  # in the order in which everybody locks several jobs
        count_cancelled((LaneKey(*of) for _, s, *of in rows if s == Status.CANCELLED))
    return {as_uuid(job_id) for job_id, *_ in rows}


def _release(leases: Sequence[Lease]) -> Rows:
    if not is_postgresql():
        return _one_by_one(_RELEASE, leases)
    find_rows_by_key()
    return fetch(_RELEASE_POSTGRESQL, _columns(leases))


def _columns(leases: Sequence[Lease]) -> dict[str, list[Any]]:
    return {"id": [lease.job_id for lease in leases], "fence": [lease.fence for lease in leases]}


def _one_by_one(statement: str, leases: Sequence[Lease], **parameters: Any) -> Rows:
    """Run SQLite's statement for each of the leases; answers all of the rows."""
    with transaction.atomic():
        return [
            row
            for job_id, fence in leases
            for row in fetch(statement, parameters | {"id": scalar(job_id), "fence": fence})
        ]


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A running job as the reaper sees it; a `ClaimedJob` has all of this too."""

    id: uuid.UUID
    fence: int
    lane_id: int
    tenant_id: int
    attempt: int
    max_retries: int
    lost_count: int


_HELD = "id, fence, lane_id, tenant_id, attempt, max_retries, lost_count"

# While the database was down nobody could extend a lease: it gives everybody a lease's time first.
_EXPIRED = f"""
SELECT {_HELD} FROM jobs_job
WHERE status = '{Status.RUNNING}' AND lease_expires_at < NOW()
    AND HAD_TIME(started_at, %(lease)s)
LIMIT %(limit)s LOCK SKIPPING ROWS"""


_HAS_EXPIRED = f"""
SELECT EXISTS (
    SELECT 1 FROM jobs_job
    WHERE status = '{Status.RUNNING}' AND lease_expires_at < NOW()
        AND HAD_TIME(started_at, %(lease)s))"""


def has_expired() -> bool:
    """Whether `reap` would find anything: a look that opens no transaction."""
    ((found,),) = fetch(_HAS_EXPIRED, {"lease": conf().lease_seconds})
    return bool(found)


def reap(worker: str, delay: Callable[[int], float], *, limit: int = 500) -> list[uuid.UUID]:
    """Take jobs away from workers whose leases ran out; answers their ids.

    Each counts as a failed attempt and as a loss; `delay` gives the seconds to the next attempt by
    the number of losses. A job lost `max_lost` times goes to the DLQ as poison. Needs no leader:
    reapers pass over each other's rows.
    """
    with transaction.atomic():
        held = _select_held(_EXPIRED, lease=conf().lease_seconds, limit=limit)
        outcomes = [lost(job, delay, "The lease ran out: its worker went silent.") for job in held]
        return list(finish(worker, outcomes)) if outcomes else []


_LEASES_OF = f"""
SELECT id, fence FROM jobs_job WHERE status = '{Status.RUNNING}' AND worker = %(worker)s"""


def leases_of(worker: str) -> list[Lease]:
    """The leases that a worker holds, whether it knows of them or not."""
    rows = fetch(_LEASES_OF, {"worker": worker})
    return [Lease(as_uuid(job_id), fence) for job_id, fence in rows]


_OF_WORKER = f"""
SELECT {_HELD} FROM jobs_job
WHERE status = '{Status.RUNNING}' AND worker = %(worker)s LOCK SKIPPING ROWS"""


def lose_worker(
    worker: str, started: Collection[Lease], delay: Callable[[int], float]
) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Settle the jobs of a worker process that is known to be dead; answers (lost, released).

    Those it had `started` count as lost; those it had only claimed go back unspent.
    """
    with transaction.atomic():
        held = _select_held(_OF_WORKER, worker=worker)
        charged = [job for job in held if Lease(job.id, job.fence) in started]
        spared = [
            Lease(job.id, job.fence) for job in held if Lease(job.id, job.fence) not in started
        ]
        outcomes = [lost(job, delay, f"The worker process {worker} died.") for job in charged]
        recorded = finish(worker, outcomes) if outcomes else set()
        released = release(spared) if spared else set()
    return list(recorded), list(released)


def _select_held(statement: str, **parameters: Any) -> list[RunningJob]:
    rows = fetch(statement, parameters, before=unless_frozen())
    return [RunningJob(as_uuid(job_id), *rest) for job_id, *rest in rows]


def lost(job: RunningJob | ClaimedJob, delay: Callable[[int], float], message: str) -> Outcome:
    """The outcome of an attempt whose worker died or went silent.

    `delay` gives the seconds to the next attempt by the number of losses.
    """
    losses = job.lost_count + 1
    reason = None
    if losses >= conf().max_lost:
        reason = Reason.POISON
    elif job.attempt > job.max_retries:
        reason = Reason.RETRIES_EXHAUSTED
    return Outcome(
        job_id=job.id,
        fence=job.fence,
        lane_id=job.lane_id,
        tenant_id=job.tenant_id,
        status=Status.DLQ if reason else Status.FAILED,
        attempt_outcome=AttemptOutcome.LOST,
        error_type="lease_lost",
        error_message=message,
        reason=reason,
        retry_in=0 if reason else delay(losses),
    )


_DUE_IN = f"""
SELECT SECONDS(NOW(), run_at) FROM jobs_job
WHERE status IN ('{Status.SCHEDULED}', '{Status.FAILED}') ORDER BY run_at LIMIT 1"""


def due_in() -> float:
    """Seconds until the next job's time comes: 0 or less if it has, infinity if none waits."""
    rows = fetch(_DUE_IN, {})
    return rows[0][0] if rows else math.inf


# The time is asked for once: with a clock that moves, the index could not tell where the due ones
# end, and all that waits would be read every time.
_PROMOTE = f"""
UPDATE jobs_job SET status = '{TRANSITIONS[Move.PROMOTE].target}'
WHERE id IN (
    SELECT id FROM jobs_job
    WHERE status IN ('{Status.SCHEDULED}', '{Status.FAILED}') AND run_at <= (SELECT NOW())
    ORDER BY run_at LIMIT %(limit)s LOCK SKIPPING ROWS
)"""


def promote(*, limit: int = 1_000) -> int:
    """Make jobs ready whose time has come; answers how many. Needs no leader either."""
    with transaction.atomic(), connection.cursor() as cursor:
        find_rows_by_key()
        cursor.execute(sql(_PROMOTE), {"limit": limit})
        return int(cursor.rowcount)
