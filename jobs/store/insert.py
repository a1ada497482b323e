"""Jobs come into being."""

import json
import uuid
from collections.abc import Container, Mapping, Sequence
from typing import Any

from django.db import connection, transaction

from jobs.conf import conf
from jobs.errors import InvalidInput, TryAgain
from jobs.models import JobTag, Lane, Line
from jobs.statuses import Status
from jobs.store.dialect import array, as_uuid, is_postgresql, scalar, sql
from jobs.submission import NewJob, Submitted, tags_text
from jobs.uuid7 import uuid7

TRIES = 2
"""How often a job is inserted anew whose lane or earlier job was there and is gone."""

_Row = tuple[uuid.UUID, NewJob]
_Earlier = tuple[uuid.UUID, str]

_COLUMNS = """
    id, tenant_id, lane_id, line_id, queue, task, worker_tags, status, priority, payload, has_args,
    attempt, max_retries, lost_count, timeout_seconds, fence, worker, cancel_requested, error_type,
    error_message, reason, tags, idempotency_key, request_hash, created_at, run_at"""

# A time that has come, or none, is now; what is later waits as SCHEDULED. The lane is looked up on
# the way: a job whose lane does not exist yet is simply not inserted by this statement.
_SELECTED = f"""
    id, %(tenant_id)s, lane_id, line_id, queue, task, worker_tags,
    CASE WHEN run_at > NOW() THEN '{Status.SCHEDULED}' ELSE '{Status.PENDING}' END,
    priority, payload, has_args, 0, max_retries, 0, timeout_seconds, 0, '', FALSE, '', '', '',
    tags, idempotency_key, request_hash, NOW(),
    CASE WHEN run_at > NOW() THEN run_at ELSE NOW() END"""

# The key's index is partial: the condition has to be named for it to be found.
_UNLESS_KEY_IS_USED = (
    "ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"
)

# In the order of their keys: two calls with the same keys must not wait for each other crosswise.
_INSERT_POSTGRESQL = f"""
INSERT INTO jobs_job ({_COLUMNS})
SELECT {_SELECTED}
FROM (
    SELECT new.*, line.lane_id, line.id AS line_id,
        coalesce(new.given_run_at, NOW() + make_interval(secs => new.delay_seconds)) AS run_at
    FROM unnest(
        %(id)s::uuid[], %(queue)s::text[], %(task)s::text[], %(worker_tags)s::text[],
        %(priority)s::smallint[],
        %(payload)s::bytea[], %(has_args)s::boolean[], %(max_retries)s::smallint[],
        %(timeout_seconds)s::float8[], %(tags)s::jsonb[], %(idempotency_key)s::text[],
        %(request_hash)s::text[], %(run_at)s::timestamptz[], %(delay_seconds)s::float8[]
    ) AS new (
        id, queue, task, worker_tags, priority, payload, has_args, max_retries, timeout_seconds,
        tags, idempotency_key, request_hash, given_run_at, delay_seconds)
    JOIN jobs_lane AS lane ON lane.tenant_id = %(tenant_id)s AND lane.queue = new.queue
    JOIN jobs_line AS line ON line.lane_id = lane.id AND line.task = new.task
        AND line.worker_tags = new.worker_tags
) AS ready
ORDER BY idempotency_key, id
{_UNLESS_KEY_IS_USED}
RETURNING id"""

_INSERT_SQLITE = f"""
INSERT INTO jobs_job ({_COLUMNS})
SELECT {_SELECTED}
FROM (
    SELECT %(id)s AS id, %(queue)s AS queue, %(task)s AS task,
        %(worker_tags)s AS worker_tags, %(priority)s AS priority,
        %(payload)s AS payload, %(has_args)s AS has_args, %(max_retries)s AS max_retries,
        %(timeout_seconds)s AS timeout_seconds, %(tags)s AS tags,
        %(idempotency_key)s AS idempotency_key, %(request_hash)s AS request_hash,
        line.lane_id, line.id AS line_id,
        coalesce(%(run_at)s, IN_SECONDS(%(delay_seconds)s)) AS run_at
    FROM jobs_lane AS lane JOIN jobs_line AS line ON line.lane_id = lane.id
    WHERE lane.tenant_id = %(tenant_id)s AND lane.queue = %(queue)s AND line.task = %(task)s
        AND line.worker_tags = %(worker_tags)s
)
WHERE TRUE {_UNLESS_KEY_IS_USED}"""
_WHICH = "SELECT id FROM jobs_job WHERE id = ANY(%(ids)s)"


def insert_jobs(tenant_id: int, jobs: Sequence[NewJob]) -> list[Submitted]:
    """Insert the jobs; answer, in their order, the id of each and whether this call made it.

    A job whose idempotency key the tenant has used gets the earlier job's id, and `mismatch` if
    that was another request. Call it in a transaction that ends if anything raises. Raises
    `InvalidInput` for too many queues, and `TryAgain` if earlier jobs are deleted all the time.
    """
    if not jobs:
        return []
    rows = [(uuid7(), job) for job in jobs]
    with transaction.atomic():
        inserted = _insert(tenant_id, rows)
        earlier: dict[str, _Earlier] = {}
        for _ in range(TRIES):
            missing = _missing(rows, inserted, earlier)
            if missing:
                _make_lanes(tenant_id, {job.queue for _, job in missing})
                _make_lines(tenant_id, [job for _, job in missing])
                inserted |= _insert(tenant_id, missing)
                earlier |= _find_earlier(tenant_id, _missing(missing, inserted, earlier))
        if _missing(rows, inserted, earlier):
            raise TryAgain("An earlier job of the same key was being deleted; try again.")
        _insert_tags(tenant_id, [row for row in rows if row[0] in inserted])
    return [_answer(job_id, job, inserted, earlier) for job_id, job in rows]


def _missing(
    rows: Sequence[_Row], inserted: Container[uuid.UUID], earlier: Container[str | None]
) -> list[_Row]:
    """The jobs that are neither new nor found, as their lane or earlier job is missing."""
    return [
        (job_id, job)
        for job_id, job in rows
        if job_id not in inserted and job.idempotency_key not in earlier
    ]


def _answer(
    job_id: uuid.UUID, job: NewJob, inserted: Container[uuid.UUID], earlier: Mapping[str, _Earlier]
) -> Submitted:
    if job_id in inserted:
        return Submitted(job_id, created=True)
    first_id, request_hash = earlier[job.idempotency_key or ""]
    return Submitted(first_id, created=False, mismatch=request_hash != job.request_hash)


def _insert(tenant_id: int, rows: Sequence[_Row]) -> set[uuid.UUID]:
    with connection.cursor() as cursor:
        if is_postgresql():
            cursor.execute(sql(_INSERT_POSTGRESQL), _columns(tenant_id, rows))
            return {job_id for (job_id,) in cursor.fetchall()}
        cursor.executemany(sql(_INSERT_SQLITE), [_values(tenant_id, *row) for row in rows])
        ids = [job_id for job_id, _ in rows]
        if cursor.rowcount == len(ids):
            return set(ids)
        cursor.execute(sql(_WHICH), {"ids": array(ids)})
        return {as_uuid(job_id) for (job_id,) in cursor.fetchall()}


# psycopg makes arrays of one type only: whole seconds of one job next to halves of another must all
# be floats.
def _values(tenant_id: int, job_id: uuid.UUID, job: NewJob) -> dict[str, Any]:
    adapt = connection.ops.adapt_datetimefield_value
    return {
        "tenant_id": tenant_id,
        "id": scalar(job_id),
        "queue": job.queue,
        "task": job.task,
        "worker_tags": tags_text(job.worker_tags),
        "priority": job.priority,
        "payload": job.payload,
        "has_args": job.has_args,
        "max_retries": job.max_retries,
        "timeout_seconds": None if job.timeout_seconds is None else float(job.timeout_seconds),
        "tags": json.dumps(job.tags),
        "idempotency_key": job.idempotency_key,
        "request_hash": job.request_hash,
        "run_at": adapt(job.run_at) if job.run_at else None,
        "delay_seconds": float(job.delay_seconds or 0),
    }


def _columns(tenant_id: int, rows: Sequence[_Row]) -> dict[str, Any]:
    values = [_values(tenant_id, *row) for row in rows]
    columns: dict[str, Any] = {name: [value[name] for value in values] for name in values[0]}
    return columns | {"tenant_id": tenant_id}


def _make_lanes(tenant_id: int, queues: set[str]) -> None:
    """Make the lanes that do not exist; those who race may go beyond the maximum by a few."""
    lanes = Lane.objects.filter(tenant_id=tenant_id)
    new = queues - set(lanes.filter(queue__in=queues).values_list("queue", flat=True))
    most = conf().max_queues_per_tenant
    if new and lanes.count() + len(new) > most:
        raise InvalidInput(
            f"A tenant may have {most} queues; use one that exists.", code="too_many_queues"
        )
    Lane.objects.bulk_create(
        [Lane(tenant_id=tenant_id, queue=queue) for queue in sorted(new)], ignore_conflicts=True
    )


def _make_lines(tenant_id: int, jobs: Sequence[NewJob]) -> None:
    """Make the lines of jobs whose lanes exist."""
    lanes = dict(Lane.objects.filter(tenant_id=tenant_id).values_list("queue", "pk"))
    wanted = {(lanes[job.queue], job.task, tags_text(job.worker_tags)) for job in jobs}
    lines = Line.objects.filter(lane__tenant_id=tenant_id)
    new = wanted - set(lines.values_list("lane_id", "task", "worker_tags"))
    most = conf().max_lines_per_tenant
    if new and lines.count() + len(new) > most:
        raise InvalidInput(
            f"A tenant may have {most} combinations of queue, task and worker tags; "
            "use one that exists.",
            code="too_many_lines",
        )
    Line.objects.bulk_create(
        [Line(lane_id=lane_id, task=task, worker_tags=tags) for lane_id, task, tags in sorted(new)],
        ignore_conflicts=True,
    )


def _insert_tags(tenant_id: int, rows: Sequence[_Row]) -> None:
    tags = [
        JobTag(job_id=job_id, tenant_id=tenant_id, tag=tag)
        for job_id, job in rows
        for tag in dict.fromkeys(job.tags)
    ]
    if tags:
        JobTag.objects.bulk_create(tags)


# A statement of its own, after the insert: only a new snapshot sees the job of a racing caller that
# has just committed under the same key.
_EARLIER = """
SELECT idempotency_key, id, request_hash FROM jobs_job
WHERE tenant_id = %(tenant_id)s AND idempotency_key = ANY(%(keys)s)"""


def _find_earlier(tenant_id: int, rows: Sequence[_Row]) -> dict[str, _Earlier]:
    keys = {job.idempotency_key for _, job in rows if job.idempotency_key is not None}
    with connection.cursor() as cursor:
        cursor.execute(sql(_EARLIER), {"tenant_id": tenant_id, "keys": array(keys)})
        return {key: (as_uuid(job_id), digest) for key, job_id, digest in cursor.fetchall()}
