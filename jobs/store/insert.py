"""Jobs come into being."""

import json
import time
import uuid
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from jobs.conf import conf
from jobs.data_keys import DataKey, key_of
from jobs.encryption import JobSeal, Owner, is_same_request
from jobs.errors import EncryptionKeyErased, InvalidInput, TenantInactive, TryAgain
from jobs.models import Job, JobTag, Lane, Line, Tenant
from jobs.statuses import Status
from jobs.store.dialect import (
    array,
    array_of_bytes,
    array_of_uuids,
    as_uuid,
    execute,
    fetch,
    has_plain_rows,
    is_postgresql,
    scalar,
    sql,
)
from jobs.submission import NewJob, Submitted, tags_text
from jobs.uuid7 import follow, uuid7s

TRIES = 2
"""How often a job is inserted anew whose lane or earlier job was there and is gone."""


class _Row(NamedTuple):
    """A new job with its id, and what it carries as it is stored: sealed if `key_id` is not 0."""

    id: uuid.UUID
    job: NewJob
    key_id: int
    payload: bytes
    request_hash: str


_Inserted = dict[uuid.UUID, tuple[Any, ...] | None]
"""The ids of jobs that were made, each with its row if that was answered."""
_Earlier = tuple[uuid.UUID, str]

_COLUMNS = """
    id, tenant_id, lane_id, line_id, queue, task, worker_tags, status, priority, payload, has_args,
    attempt, max_retries, lost_count, timeout_seconds, fence, worker, cancel_requested, error_type,
    error_message, reason, tags, idempotency_key, request_hash, created_at, run_at"""

# A time that has come, or none, is now; what is later waits as SCHEDULED. Lane and key are looked
# up on the way: a job whose lane does not exist yet, or that is sealed with another key than its
# tenant has now, is simply not inserted by this statement.
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

# Jobs that come in masses are alike: what all have in common is given once, as `all_…`, and the
# array for it is empty. In the order of their keys: two calls with the same keys must not wait for
# each other crosswise.
_INSERT_MANY = f"""
INSERT INTO jobs_job ({_COLUMNS})
SELECT {_SELECTED}
FROM (
    SELECT new.id, new.payload, new.idempotency_key, line.lane_id, line.id AS line_id, lane.queue,
        line.task, line.worker_tags,
        coalesce(new.priority, %(all_priority)s::smallint) AS priority,
        coalesce(new.has_args, %(all_has_args)s::boolean) AS has_args,
        coalesce(new.max_retries, %(all_max_retries)s::smallint) AS max_retries,
        coalesce(new.timeout_seconds, %(all_timeout_seconds)s::float8) AS timeout_seconds,
        coalesce(new.tags, %(all_tags)s::jsonb) AS tags,
        coalesce(new.request_hash, %(all_request_hash)s::text) AS request_hash,
        coalesce(
            new.run_at, %(all_run_at)s::timestamptz,
            NOW() + make_interval(
                secs => coalesce(new.delay_seconds, %(all_delay_seconds)s::float8))
        ) AS run_at
    FROM unnest(
        %(id)s::uuid[], %(payload)s::bytea[], %(queue)s::text[], %(task)s::text[],
        %(worker_tags)s::text[], %(priority)s::smallint[], %(has_args)s::boolean[],
        %(max_retries)s::smallint[], %(timeout_seconds)s::float8[], %(tags)s::jsonb[],
        %(idempotency_key)s::text[], %(request_hash)s::text[], %(run_at)s::timestamptz[],
        %(delay_seconds)s::float8[]
    ) AS new (
        id, payload, queue, task, worker_tags, priority, has_args, max_retries, timeout_seconds,
        tags, idempotency_key, request_hash, run_at, delay_seconds)
    JOIN jobs_lane AS lane ON lane.tenant_id = %(tenant_id)s
        AND lane.queue = coalesce(new.queue, %(all_queue)s::text)
    JOIN jobs_line AS line ON line.lane_id = lane.id
        AND line.task = coalesce(new.task, %(all_task)s::text)
        AND line.worker_tags = coalesce(new.worker_tags, %(all_worker_tags)s::text)
        AND line.key_id = %(key_id)s
    JOIN jobs_tenant AS tenant ON tenant.id = lane.tenant_id AND tenant.key_id = line.key_id
) AS ready
ORDER BY idempotency_key, id
{_UNLESS_KEY_IS_USED}"""

# One job, without arrays: PostgreSQL plans it once and for all, in half the time.
_INSERT_ONE = f"""
INSERT INTO jobs_job ({_COLUMNS})
SELECT {_SELECTED}
FROM (
    SELECT %(id)s::uuid AS id, line.lane_id, line.id AS line_id, lane.queue, line.task,
        line.worker_tags, %(priority)s::smallint AS priority, %(payload)s::bytea AS payload,
        %(has_args)s::boolean AS has_args, %(max_retries)s::smallint AS max_retries,
        %(timeout_seconds)s::float8 AS timeout_seconds, %(tags)s::jsonb AS tags,
        %(idempotency_key)s::text AS idempotency_key, %(request_hash)s::text AS request_hash,
        coalesce(%(run_at)s::timestamptz, IN_SECONDS(%(delay_seconds)s::float8)) AS run_at
    FROM jobs_tenant AS tenant JOIN jobs_lane AS lane ON lane.tenant_id = tenant.id
    JOIN jobs_line AS line ON line.lane_id = lane.id AND line.key_id = tenant.key_id
    WHERE lane.tenant_id = %(tenant_id)s AND lane.queue = %(queue)s AND line.task = %(task)s
        AND line.worker_tags = %(worker_tags)s AND line.key_id = %(key_id)s
) AS ready
WHERE TRUE {_UNLESS_KEY_IS_USED}"""
# With the row as it is now, for who answers with the job.
_INSERT_ONE_RETURNING = f"""{_INSERT_ONE}
RETURNING {", ".join(field.attname for field in Job._meta.concrete_fields)}"""
_WHICH = "SELECT id FROM jobs_job WHERE id = ANY(%(ids)s)"


def insert_jobs(
    tenant_id: int, jobs: Sequence[NewJob], key_id: int = 0, *, with_row: bool = False
) -> list[Submitted]:
    """Insert the jobs; answer, in their order, the id of each and whether this call made it.

    What they carry is sealed with the key of `key_id`, or what the tenant has instead by now.
    `with_row` asks for the row of a single job, too, which costs less than to read it afterwards. A
    job whose idempotency key the tenant has used gets the earlier job's id, and `mismatch` if that
    was another request. Call it in a transaction that ends if anything raises. Raises as `key_of`,
    `InvalidInput` for too many queues, `TenantInactive` if the tenant is gone, and `TryAgain` if
    earlier jobs are deleted all the time.
    """
    _let_ids_follow(connection)
    new = list(zip(uuid7s(len(jobs)), jobs, strict=True))
    try:
        rows = _rows(new, key_id)
    except EncryptionKeyErased:
        rows = _rows(new, _key_in_force(tenant_id))
    inserted = _insert(tenant_id, rows, with_row=with_row)
    earlier: dict[str, _Earlier] = {}
    if len(inserted) < len(rows):
        inserted, earlier = _insert_rest(tenant_id, rows, inserted)
    _insert_tags(tenant_id, [row for row in rows if row.id in inserted])
    return [_answer(tenant_id, job_id, job, inserted, earlier) for job_id, job in new]


def _rows(new: Iterable[tuple[uuid.UUID, NewJob]], key_id: int) -> list[_Row]:
    key = key_of(key_id) if key_id else None
    return [_row(job_id, job, key) for job_id, job in new]


def _row(job_id: uuid.UUID, job: NewJob, key: DataKey | None) -> _Row:
    if key is None:
        return _Row(job_id, job, 0, job.payload, job.request_hash)
    seal = JobSeal(key, job_id)
    request_hash = seal.seal_hash(job.request_hash)
    return _Row(job_id, job, key.id, seal.seal("payload", job.payload), request_hash)


def _insert_rest(
    tenant_id: int, rows: Sequence[_Row], inserted: _Inserted
) -> tuple[_Inserted, dict[str, _Earlier]]:
    """Insert jobs of new lines or keys, and find the earlier jobs of used ones; answers both."""
    earlier: dict[str, _Earlier] = {}
    missing = _missing(rows, inserted, earlier)
    for tries_left in range(TRIES, -1, -1):
        earlier |= _find_earlier(tenant_id, missing)
        missing = _sealed_as_now(tenant_id, _missing(missing, inserted, earlier))
        if not missing:
            return inserted, earlier
        if tries_left:
            _make_lanes(tenant_id, {row.job.queue for row in missing})
            _make_lines(tenant_id, missing)
            inserted |= _insert(tenant_id, missing)
    raise TryAgain("An earlier job of the same key was being deleted; try again.")


def _sealed_as_now(tenant_id: int, rows: list[_Row]) -> list[_Row]:
    """The jobs, sealed with the key that the tenant has now: the caller may have read another."""
    if not rows or rows[0].key_id == (key_id := _key_in_force(tenant_id)):
        return rows
    return _rows([(row.id, row.job) for row in rows], key_id)


def _key_in_force(tenant_id: int) -> int:
    for key_id in Tenant.objects.values_list("key_id", flat=True).filter(pk=tenant_id):
        return key_id
    raise TenantInactive("The tenant was deleted; ask its operator.")  # callers remember tenants


def _missing(
    rows: Sequence[_Row], inserted: Collection[uuid.UUID], earlier: Container[str | None]
) -> list[_Row]:
    """The jobs that are neither new nor found, as their lane or earlier job is missing."""
    return [x for x in rows if x.id not in inserted and x.job.idempotency_key not in earlier]


def _answer(
    tenant_id: int,
    job_id: uuid.UUID,
    job: NewJob,
    inserted: _Inserted,
    earlier: Mapping[str, _Earlier],
) -> Submitted:
    if job_id in inserted:
        return Submitted(job_id, created=True, row=inserted[job_id])
    first_id, stored = earlier[job.idempotency_key or ""]
    is_same = is_same_request(Owner(tenant_id, first_id), stored, job.request_hash)
    return Submitted(first_id, created=False, mismatch=not is_same)


def _insert(tenant_id: int, rows: Sequence[_Row], *, with_row: bool = False) -> _Inserted:
    """Insert the jobs whose lines there are and whose keys are new; answers which those were."""
    if not rows:
        return {}
    if with_row and len(rows) == 1 and has_plain_rows():
        made = fetch(_INSERT_ONE_RETURNING, _values(tenant_id, rows[0]))
        return {rows[0].id: made[0]} if made else {}
    if len(rows) == 1:
        count = execute(_INSERT_ONE, _values(tenant_id, rows[0]))
    elif is_postgresql():
        count = execute(_INSERT_MANY, _columns(tenant_id, rows))
    else:
        with connection.cursor() as cursor:
            cursor.executemany(sql(_INSERT_ONE), [_values(tenant_id, row) for row in rows])
            count = cursor.rowcount
    ids = [row.id for row in rows]
    if count == len(ids):
        return dict.fromkeys(ids)
    return {as_uuid(job_id): None for (job_id,) in fetch(_WHICH, {"ids": array(ids)})}


CLOCK_IS_ASKED_EVERY = 60.0
"""Seconds."""
_asked_at = -CLOCK_IS_ASKED_EVERY
_MOMENT = "SELECT extract(epoch FROM clock_timestamp())::float8"


@receiver(connection_created)
def _let_ids_follow(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    """Let ids be of the time of PostgreSQL's machine, whatever the clock of this one says.

    Jobs are looked for by when they were made through their ids. Asked once in a while, of a new
    connection or before an insert.
    """
    global _asked_at  # noqa: PLW0603
    if connection.vendor != "postgresql" or time.monotonic() < _asked_at + CLOCK_IS_ASKED_EVERY:
        return
    with connection.cursor() as cursor:
        cursor.execute(_MOMENT)
        ((moment,),) = cursor.fetchall()
    follow(moment)
    _asked_at = time.monotonic()


def _same(value: Any) -> Any:
    return value


def _time(value: datetime | None) -> Any:
    return value and connection.ops.adapt_datetimefield_value(value)


# psycopg makes arrays of one type only: whole seconds of one job next to halves of another must all
# be floats.
_STORED: dict[str, Callable[[Any], Any]] = {
    "queue": _same,
    "task": _same,
    "worker_tags": tags_text,
    "priority": _same,
    "has_args": _same,
    "max_retries": _same,
    "timeout_seconds": lambda seconds: seconds and float(seconds),
    "tags": json.dumps,
    "run_at": _time,
    "delay_seconds": lambda seconds: float(seconds or 0),
}
"""The fields of a new job that jobs of one call often have in common, and how they are stored."""


def _values(tenant_id: int, row: _Row) -> dict[str, Any]:
    values = {name: stored(getattr(row.job, name)) for name, stored in _STORED.items()}
    own = {
        "payload": row.payload,
        "request_hash": row.request_hash,
        "key_id": row.key_id,
        "idempotency_key": row.job.idempotency_key,
    }
    return values | own | {"tenant_id": tenant_id, "id": scalar(row.id)}


def _columns(tenant_id: int, rows: Sequence[_Row]) -> dict[str, Any]:
    """Each field as an array, or as what all of the jobs have in it."""
    jobs = [row.job for row in rows]
    keys = [job.idempotency_key for job in jobs]
    columns: dict[str, Any] = {
        "tenant_id": tenant_id,
        "key_id": rows[0].key_id,
        "id": array_of_uuids(row.id for row in rows),
        "payload": array_of_bytes(row.payload for row in rows),
        "idempotency_key": keys if any(keys) else [],
        **_column("request_hash", _same, [row.request_hash for row in rows]),
    }
    for name, stored in _STORED.items():
        columns |= _column(name, stored, [getattr(job, name) for job in jobs])
    return columns


def _column(name: str, stored: Callable[[Any], Any], values: list[Any]) -> dict[str, Any]:
    are_alike = values.count(values[0]) == len(values)
    return {
        name: [] if are_alike else [stored(value) for value in values],
        f"all_{name}": stored(values[0]) if are_alike else None,
    }


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


def _make_lines(tenant_id: int, rows: Sequence[_Row]) -> None:
    """Make the lines of jobs whose lanes exist; the jobs have one key, or none of them has."""
    key_id = rows[0].key_id if rows else 0
    lanes = dict(Lane.objects.filter(tenant_id=tenant_id).values_list("queue", "pk"))
    wanted = {(lanes[job.queue], job.task, tags_text(job.worker_tags)) for _, job, *_ in rows}
    lines = Line.objects.filter(lane__tenant_id=tenant_id, key_id=key_id)
    new = wanted - set(lines.values_list("lane_id", "task", "worker_tags"))
    most = conf().max_lines_per_tenant
    if new and lines.count() + len(new) > most:
        raise InvalidInput(
            f"A tenant may have {most} combinations of queue, task and worker tags; "
            "use one that exists.",
            code="too_many_lines",
        )
    Line.objects.bulk_create(
        [
            Line(lane_id=lane_id, task=task, worker_tags=tags, key_id=key_id)
            for lane_id, task, tags in sorted(new)
        ],
        ignore_conflicts=True,
    )


def line_with_key(line_id: int, key_id: int) -> int:
    """The id of the line that jobs of this line are in whose payload is sealed with that key."""
    line = Line.objects.get(pk=line_id)
    return Line.objects.get_or_create(
        lane_id=line.lane_id, task=line.task, worker_tags=line.worker_tags, key_id=key_id
    )[0].pk


def _insert_tags(tenant_id: int, rows: Sequence[_Row]) -> None:
    tags = [
        JobTag(job_id=row.id, tenant_id=tenant_id, tag=tag)
        for row in rows
        for tag in dict.fromkeys(row.job.tags)
    ]
    if tags:
        JobTag.objects.bulk_create(tags)


# A statement of its own, after the insert: only a new snapshot sees the job of a racing caller that
# has just committed under the same key.
_EARLIER = """
SELECT idempotency_key, id, request_hash FROM jobs_job
WHERE tenant_id = %(tenant_id)s AND idempotency_key = ANY(%(keys)s)"""


def _find_earlier(tenant_id: int, rows: Sequence[_Row]) -> dict[str, _Earlier]:
    if not (keys := {row.job.idempotency_key for row in rows} - {None}):
        return {}
    with connection.cursor() as cursor:
        cursor.execute(sql(_EARLIER), {"tenant_id": tenant_id, "keys": array(keys)})
        return {key: (as_uuid(job_id), digest) for key, job_id, digest in cursor.fetchall()}
