"""Jobs in any status, made the way the engine makes them: submitted, claimed, finished."""

import uuid
from typing import Any

from django.db import connection

from jobs import services, store
from jobs.models import Job, Tenant
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.submission import NewJob
from jobs.uuid7 import uuid7s

WORKER = "test-worker"


def make_job(tenant: Tenant, status: Status = Status.PENDING, **fields: Any) -> Job:
    """A job of the tenant in this status.

    `fields` are those of `NewJob`, and for an attempt's end those of `Outcome`. The job is the one
    that a claim of its queue takes, so make the PENDING ones of a queue last.
    """
    ending = {name: fields.pop(name) for name in _ENDING if name in fields}
    delay = {"delay_seconds": 3_600} if status is Status.SCHEDULED else {}
    wanted = NewJob(**{"task": "echo", "queue": "default"} | delay | fields)
    job_id = services.submit(tenant, wanted).job_id
    job = Job.objects.get(pk=job_id)
    if status is Status.CANCELLED:
        return services.cancel(job, actor="command:test")
    if status not in {Status.PENDING, Status.SCHEDULED}:
        _run(job, status, ending)
    job.refresh_from_db()
    assert job.status == status
    return job


def copy_job(job: Job, count: int, **columns: Any) -> list[uuid.UUID]:
    """So many more of the job, but for these columns; answers their ids, in order.

    The database copies them: to make thousands of objects takes longer than what is tested with.
    """
    ids = uuid7s(count)
    copied = {field.attname for field in Job._meta.concrete_fields} - {"id", *columns}
    values = ", ".join([*["%s"] * (1 + len(columns)), *copied])
    key = Job._meta.pk.get_db_prep_value
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO jobs_job ({', '.join(['id', *columns, *copied])})"
            f" SELECT {values} FROM jobs_job WHERE id = %s",
            [(key(one, connection), *columns.values(), key(job.pk, connection)) for one in ids],
        )
    return ids


_ENDING = ("result", "error_type", "error_message", "traceback", "reason")
_DIED = {
    "attempt_outcome": AttemptOutcome.FAILED,
    "error_type": "ValueError",
    "error_message": "no such thing",
    "traceback": "Traceback (most recent call last):\n  …\nValueError: no such thing",
}
_ENDINGS: dict[Status, dict[str, Any]] = {
    Status.DONE: {"result": b"null"},
    Status.FAILED: {**_DIED, "retry_in": 3_600},
    Status.DLQ: {**_DIED, "reason": Reason.RETRIES_EXHAUSTED},
}


def _run(job: Job, status: Status, ending: dict[str, Any]) -> None:
    """Claim the job, and end it unless it is to be RUNNING."""
    claimed = store.claim(WORKER, [store.Share(job.lane_id, 1)], lease_seconds=30)
    assert [one.id for one in claimed] == [job.pk], "another job of the queue was claimed"
    if status is not Status.RUNNING:
        fate = {"lane_id": job.lane_id, "tenant_id": job.tenant_id, "status": status}
        outcome = store.Outcome(
            job_id=job.pk, fence=claimed[0].fence, **fate | _ENDINGS[status] | ending
        )
        assert store.finish(WORKER, [outcome]) == {job.pk}
