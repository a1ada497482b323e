"""Jobs by their ids, past the ORM: that takes longer to ask than the database to answer."""

import uuid
from collections.abc import Collection

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection

from jobs.models import Attempt, Job
from jobs.statuses import Status
from jobs.store.dialect import array_of_uuids, is_postgresql

_FIELDS = [field.attname for field in Job._meta.concrete_fields]
_JOBS = f"SELECT {', '.join(_FIELDS)} FROM jobs_job WHERE tenant_id = %s AND id = "
_ONE, _SEVERAL = f"{_JOBS} %s", f"{_JOBS} ANY(%s::uuid[])"


def find_job(tenant_id: int, job_id: uuid.UUID) -> Job | None:
    """The job of that id, if it is the tenant's."""
    if _is_for_the_orm():
        return Job.objects.filter(tenant_id=tenant_id, pk=job_id).first()
    return next(iter(_fetched(_ONE, tenant_id, job_id)), None)


def find_jobs(tenant_id: int, job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Job]:
    """Those of the tenant's jobs, by their ids."""
    if _is_for_the_orm():
        found = Job.objects.filter(tenant_id=tenant_id, pk__in=job_ids).order_by()
        return {job.pk: job for job in found}
    return {job.pk: job for job in _fetched(_SEVERAL, tenant_id, array_of_uuids(job_ids))}


def _is_for_the_orm() -> bool:
    """Where somebody looks on, and on SQLite, whose driver knows no times and no ids."""
    return not is_postgresql() or bool(connection.execute_wrappers) or connection.queries_logged


def _fetched(statement: str, *parameters: object) -> list[Job]:
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        rows = cursor.execute(statement, parameters, binary=True).fetchall()
    return [Job.from_db(DEFAULT_DB_ALIAS, _FIELDS, row) for row in rows]


def attempts_of(job: Job) -> list[Attempt]:
    """Its attempts that failed or were lost, oldest first.

    Each claim raised the fence by one: a job that was claimed once, and is running or done, has
    none, and nobody is asked.
    """
    ended_otherwise = job.fence - (job.status in {Status.RUNNING, Status.DONE})
    return list(job.attempts.order_by("fence")) if ended_otherwise else []
