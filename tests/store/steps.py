"""The steps that tests of the store are made of."""

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import connection
from django.db.models import F

from jobs import store
from jobs.models import Attempt, Job, JobTag, Lane, Tenant
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store.dialect import sql
from jobs.submission import NewJob

T = TypeVar("T")
WORKER = "worker-1"
LONG_AGO = timedelta(hours=1)


def submit(tenant: Tenant, count: int = 1, **fields: Any) -> list[uuid.UUID]:
    """Insert so many equal jobs; answers their ids in order."""
    new = NewJob(**{"task": "echo"} | fields)
    return [one.job_id for one in store.insert_jobs(tenant.pk, [new] * count)]


def lane_of(tenant: Tenant, queue: str = "default") -> Lane:
    """The tenant's lane of that queue; made if there is none."""
    return Lane.objects.get_or_create(tenant=tenant, queue=queue)[0]


def claim(*lanes: Lane, quota: int = 100, **options: Any) -> list[store.ClaimedJob]:
    """Claim up to `quota` jobs of each lane."""
    shares = [store.Share(lane.pk, quota) for lane in lanes]
    return store.claim(options.pop("worker", WORKER), shares, **{"lease_seconds": 30} | options)


def claim_one(tenant: Tenant, **fields: Any) -> store.ClaimedJob:
    """Submit a job and claim it."""
    submit(tenant, **fields)
    (claimed,) = claim(lane_of(tenant, fields.get("queue", "default")), quota=1)
    return claimed


def outcome(job: store.ClaimedJob, status: Status, **fields: Any) -> store.Outcome:
    """How the attempt ended, with what belongs to that status unless `fields` say otherwise."""
    failed = {"attempt_outcome": AttemptOutcome.FAILED, "error_type": "ValueError"}
    usual: dict[Status, dict[str, Any]] = {
        Status.DONE: {"result": b"42"},
        Status.FAILED: failed | {"retry_in": 60},
        Status.DLQ: failed | {"reason": Reason.RETRIES_EXHAUSTED},
        Status.CANCELLED: {},
    }
    whose = {"job_id": job.id, "fence": job.fence, "lane_id": job.lane_id}
    return store.Outcome(
        **whose | {"tenant_id": job.tenant_id, "status": status} | usual[status] | fields
    )


def finish(job: store.ClaimedJob, status: Status, **fields: Any) -> set[uuid.UUID]:
    """Record one outcome."""
    return store.finish(WORKER, [outcome(job, status, **fields)])


def job_in(status: Status, tenant: Tenant, **fields: Any) -> uuid.UUID:
    """The id of a new job in that status, brought there by the store, as far as it can be."""
    if status is Status.RUNNING:
        return claim_one(tenant, **fields).id
    if status in store_endings():
        claimed = claim_one(tenant, **fields)
        finish(claimed, status)
        return claimed.id
    delay = {"delay_seconds": 3_600} if status is Status.SCHEDULED else {}
    (job_id,) = submit(tenant, **fields | delay)
    if status is Status.BLOCKED:  # nothing in the store makes one yet
        Job.objects.filter(pk=job_id).update(status=status)
    return job_id


def store_endings() -> set[Status]:
    """The statuses that an attempt may end in."""
    return {Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED}


def row(job_id: uuid.UUID) -> dict[str, Any]:
    """The whole row of a job, comparable."""
    found = Job.objects.values().get(pk=job_id)
    blobs = {name: found[name] and bytes(found[name]) for name in ("payload", "result")}
    return found | blobs


def status_of(job_id: uuid.UUID) -> str:
    """The job's status now."""
    return Job.objects.values_list("status", flat=True).get(pk=job_id)


def expire(job_ids: Iterable[uuid.UUID]) -> None:
    """Let the leases of these jobs have run out long ago."""
    Job.objects.filter(pk__in=job_ids).update(lease_expires_at=F("lease_expires_at") - LONG_AGO)


def make_due(job_ids: Iterable[uuid.UUID]) -> None:
    """Let the time that these jobs wait for have come."""
    Job.objects.filter(pk__in=job_ids).update(run_at=database_time() - LONG_AGO)


def age(job_ids: Iterable[uuid.UUID], *, days: float) -> list[uuid.UUID]:
    """Let these jobs have been submitted and have ended so long before; answers their new ids."""
    passed = timedelta(days=days)
    older = {}
    for job_id in job_ids:
        new = uuid.UUID(int=job_id.int - (int(passed.total_seconds() * 1_000) << 80))
        Attempt.objects.filter(job_id=job_id).update(job_id=new)
        JobTag.objects.filter(job_id=job_id).update(job_id=new)
        Job.objects.filter(pk=job_id).update(id=new, finished_at=F("finished_at") - passed)
        older[job_id] = new
    return list(older.values())


def database_time() -> datetime:
    """What the database's clock says."""
    with connection.cursor() as cursor:
        cursor.execute(sql("SELECT NOW()"), {})
        (value,) = cursor.fetchone()
    return value if isinstance(value, datetime) else datetime.fromisoformat(f"{value}+00:00")


def no_delay(losses: int) -> float:
    """A backoff of nothing."""
    return 0


def together(actions: Sequence[Callable[[], T]]) -> list[T]:
    """Run the actions at the same moment, each in a thread with a connection of its own."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], T]) -> T:
        try:
            barrier.wait(timeout=30)
            return action()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))
