"""Jobs by their ids, past the ORM: that takes longer to ask than the database to answer."""

import uuid
from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.base import ModelState
from django.db.models.functions import Now

from jobs.encryption import open_fields
from jobs.models import Attempt, Job
from jobs.statuses import Status
from jobs.store.dialect import array_of_uuids, has_plain_rows

_FIELDS = tuple(field.attname for field in Job._meta.concrete_fields)
_ONE = f"SELECT {', '.join(_FIELDS)} FROM jobs_job WHERE tenant_id = %s AND id = %s"


def find_job(tenant_id: int, job_id: uuid.UUID) -> Job | None:
    """The job of that id, if it is the tenant's."""
    if not has_plain_rows():  # somebody looks on, or it is SQLite, which has no times and no ids
        return Job.objects.filter(tenant_id=tenant_id, pk=job_id).first()
    return next(map(job_of, _rows(_ONE, tenant_id, job_id)), None)


def find_jobs(
    tenant_id: int | None, job_ids: Collection[uuid.UUID], only: Sequence[str] = _FIELDS
) -> dict[uuid.UUID, Job]:
    """Those of the tenant's jobs (None: of anybody's), by their ids, in no order.

    With the fields of `only`, of which `id` is always one, and with `now`, the time by the
    database's clock at which each was read.
    """
    fields = ("id", *(name for name in only if name != "id"))
    if not has_plain_rows():
        own = {} if tenant_id is None else {"tenant_id": tenant_id}
        found = Job.objects.filter(**own, pk__in=job_ids).order_by().only(*fields)
        return {job.pk: job for job in found.annotate(now=Now())}
    statement = f"""
        SELECT {", ".join(fields)}, clock_timestamp() FROM jobs_job
        WHERE id = ANY(%s::uuid[]) AND (%s::bigint IS NULL OR tenant_id = %s)"""
    rows = _rows(statement, array_of_uuids(job_ids), tenant_id, tenant_id)
    return {row[0]: job_of(row, (*fields, "now")) for row in rows}


def _rows(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        return cursor.execute(statement, parameters, binary=True).fetchall()


def job_of(row: Sequence[object], fields: Sequence[str] = _FIELDS) -> Job:
    """The job of a row, as `Job.from_db` makes it in six times as long, with signals."""
    job = Job.__new__(Job)
    job._state = ModelState()
    job._state.adding, job._state.db = False, DEFAULT_DB_ALIAS
    vars(job).update(zip(fields, row, strict=True))
    open_fields(job, Job.ENCRYPTED)
    return job


def attempts_of(job: Job) -> list[Attempt]:
    """Its attempts that failed or were lost, oldest first.

    Each claim raised the fence by one: a job that was claimed once, and is running or done, has
    none, and nobody is asked.
    """
    ended_otherwise = job.fence - (job.status in {Status.RUNNING, Status.DONE})
    return list(job.attempts.order_by("fence")) if ended_otherwise else []
