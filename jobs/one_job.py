"""One job by its id, past the ORM: that takes longer to ask than the database to answer."""

import uuid

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection

from jobs.models import Attempt, Job
from jobs.statuses import Status
from jobs.store.dialect import is_postgresql

_FIELDS = [field.attname for field in Job._meta.concrete_fields]
_JOB = f"SELECT {', '.join(_FIELDS)} FROM jobs_job WHERE id = %s AND tenant_id = %s"


def find_job(tenant_id: int, job_id: uuid.UUID) -> Job | None:
    """The job of that id, if it is the tenant's."""
    if not is_postgresql() or connection.execute_wrappers or connection.queries_logged:
        return Job.objects.filter(pk=job_id, tenant_id=tenant_id).first()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(connection.connection)
        row = cursor.execute(_JOB, [job_id, tenant_id], binary=True).fetchone()
    return row and Job.from_db(DEFAULT_DB_ALIAS, _FIELDS, row)


def attempts_of(job: Job) -> list[Attempt]:
    """Its attempts that failed or were lost, oldest first.

    Each claim raised the fence by one: a job that was claimed once, and is running or done, has
    none, and nobody is asked.
    """
    ended_otherwise = job.fence - (job.status in {Status.RUNNING, Status.DONE})
    return list(job.attempts.order_by("fence")) if ended_otherwise else []
