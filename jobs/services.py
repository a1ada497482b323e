"""Use cases on jobs and queues, for REST, dashboard, admin, commands and Python callers alike.

Each checks what only the domain can check, calls the store, and leaves an audit entry where an
operator acted. None writes a row of a job itself.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from jobs import ceilings, store, wakeup
from jobs.audit import audit, audit_jobs
from jobs.conf import conf
from jobs.data_keys import key_of
from jobs.encryption import why_unreadable
from jobs.errors import (
    EncryptionKeyErased,
    IdempotencyMismatch,
    InvalidInput,
    JobNotFound,
    JobQueueError,
    QueueFull,
    QueueNotFound,
    StatusConflict,
    TenantInactive,
    TooManyRequests,
)
from jobs.models import START_LIMITS, AuditAction, Job, Lane, TaskLimit, Tenant
from jobs.start_clocks import clocks_of, keep_clock
from jobs.statuses import Move, Status
from jobs.submission import NewJob, Submitted
from jobs.tenants import settings_of

NEEDS_A_LIMIT = "Give max_running or starts_per_minute; to lift a limit, remove it."
_PACE = {"starts_per_minute", "start_burst"}


def submit(tenant: Tenant, job: NewJob, *, with_row: bool = False) -> Submitted:
    """Accept one job; `with_row` for who answers with all of it. See `submit_many`."""
    return submit_many(tenant, [job], with_row=with_row)[0]


def submit_by_hand(tenant: Tenant, job: NewJob, *, actor: str) -> Submitted:
    """Accept one job that a person submits, who is written down. Raises as `submit_many`."""
    with transaction.atomic():
        submitted = submit(tenant, job)
        if submitted.created:
            audit(actor, "submit", tenant.pk, str(submitted.job_id))
    return submitted


def submit_many(
    tenant: Tenant, jobs: Sequence[NewJob], *, with_row: bool = False
) -> list[Submitted]:
    """Accept all of the jobs, or none.

    Joins the caller's transaction. A job whose idempotency key was used before with the same
    request is answered with the earlier job, `created=False`, and spends nothing of the limits.

    Exact limits are counted one submission after the other: those of a tenant that has any wait
    until the caller's transaction ends. Keep that short.

    Raises `TenantInactive`, `InvalidInput`, `IdempotencyMismatch`, `TooManyRequests`, `QueueFull`,
    `TryAgain`, and `EncryptionKeyMissing` or `EncryptionKeyErased` for a tenant whose jobs are
    encrypted.
    """
    if not tenant.is_active:
        raise TenantInactive(f"The tenant {tenant.slug!r} is switched off; ask its operator.")
    if len(jobs) > conf().max_bulk_jobs:
        raise InvalidInput(f"At most {conf().max_bulk_jobs} jobs can be submitted at once.")
    if all(job.idempotency_key is None for job in jobs):
        _refuse_early(tenant, count=len(jobs))
    with _one_write(tenant, jobs):
        submitted = store.insert_jobs(tenant.pk, jobs, tenant.key_id, with_row=with_row)
        _refuse_mismatches(submitted)
        _respect_limits(tenant, created=sum(s.created for s in submitted))
    if any(s.created for s in submitted):
        transaction.on_commit(wakeup.signal)
    return submitted


@contextmanager
def _one_write(tenant: Tenant, jobs: Sequence[NewJob]) -> Iterator[None]:
    """A transaction, unless all there is to do is the insert of one row."""
    is_plain = len(jobs) == 1 and not jobs[0].tags and jobs[0].idempotency_key is None
    has_limits = tenant.submissions_per_minute is not None or tenant.max_pending is not None
    with nullcontext() if is_plain and not has_limits else transaction.atomic():
        if has_limits:
            store.hold_submissions(tenant.pk)
        yield


def _refuse_mismatches(submitted: Iterable[Submitted]) -> None:
    for index, one in enumerate(submitted):
        if one.mismatch:
            raise IdempotencyMismatch(
                "This idempotency key was used before with another request; use a new key.",
                index=index,
            )


def _refuse_early(tenant: Tenant, *, count: int) -> None:
    """Refuse before anything is written what would be refused after it: writing costs more."""
    rate = tenant.submissions_per_minute
    if count and rate is not None:
        _refuse_above_rate(tenant, rate, count, look=store.submissions_wait)


def _refuse_above_rate(tenant: Tenant, rate: int, count: int, *, look: Callable[..., int]) -> None:
    if count > rate:
        raise InvalidInput(
            f"The tenant {tenant.slug!r} may submit {rate} jobs in 60 seconds: "
            f"{count} at once will never be accepted.",
            code="more_than_limit",
        )
    if retry_after := look(tenant.pk, count=count, limit=rate):
        raise TooManyRequests(
            f"The tenant {tenant.slug!r} may submit {rate} jobs in 60 seconds; "
            f"try again in {retry_after} seconds.",
            retry_after=retry_after,
            limit=rate,
        )


def _respect_limits(tenant: Tenant, *, created: int) -> None:
    """Raise if the jobs just inserted are more than the tenant's limits allow."""
    if not created:
        return
    rate = tenant.submissions_per_minute
    if rate is not None:
        _refuse_above_rate(tenant, rate, created, look=store.take_submissions)
    cap = tenant.max_pending
    if cap is not None and store.count_waiting(tenant.pk, at_most=cap + 1) > cap:
        raise QueueFull(
            f"The tenant {tenant.slug!r} may have {cap} waiting jobs; try again when some ran.",
            retry_after=5,
            limit=cap,
        )


def cancel(job: Job, *, actor: str) -> Job:
    """Cancel a job: at once while it waits, at its worker's next heartbeat while it runs.

    Cancelling a cancelled job changes nothing. Raises `StatusConflict` for DONE and DLQ.
    """
    with transaction.atomic():
        moved = store.cancel([job.pk])
        return _moved_one(job, Move.CANCEL, actor, moved, settled={Status.CANCELLED})


def retry(job: Job, *, actor: str, may_redrive: bool = True) -> Job:
    """Make a FAILED job ready now, or redrive a dead letter if the caller may do that.

    Raises `StatusConflict` for every other status, and `EncryptionKeyErased` for a dead letter that
    could never run.
    """
    with transaction.atomic():
        moved = store.retry([job.pk])
        if not moved and may_redrive:
            moved = store.redrive([job.pk])
        return _moved_one(job, Move.RETRY, actor, moved)


def _moved_one(
    job: Job,
    move: Move,
    actor: str,
    moved: Collection[uuid.UUID],
    settled: Collection[Status] = (),
) -> Job:
    before = _standing(job)  # as who acts has seen it
    try:
        job.refresh_from_db()
    except Job.DoesNotExist:
        raise JobNotFound("There is no such job.") from None
    if not moved and job.status not in settled:
        raise _refusal(job, move)
    if moved:
        action: AuditAction = "cancel" if move == Move.CANCEL else "retry"
        details = {"before": before, "after": _standing(job)}
        audit(actor, action, job.tenant_id, str(job.pk), **details)
        transaction.on_commit(wakeup.signal)
    return job


def _standing(job: Job) -> dict[str, Any]:
    return {"status": job.status, "cancel_requested": job.cancel_requested}


def _refusal(job: Job, move: Move) -> JobQueueError:
    is_lost = why_unreadable(job, ["payload"]) == EncryptionKeyErased.code
    if move == Move.RETRY and job.status == Status.DLQ and is_lost:
        return EncryptionKeyErased(
            "The key of its payload was erased, so it can never run as it is: discard it, or send "
            "it back with another payload in the admin."
        )
    past = {Move.CANCEL: "cancelled", Move.RETRY: "retried"}[move]
    return StatusConflict(f"A job that is {job.status} cannot be {past}.")


def redrive(
    job_ids: Sequence[uuid.UUID],
    *,
    actor: str,
    tenant: Tenant,
    payload: bytes | None = None,
    found_by: str | None = None,
) -> list[uuid.UUID]:
    """Send dead letters of a tenant back with their attempts reset; answers the ids that were.

    `payload` replaces the payload of a single job on the way. `found_by` is the filter that led to
    the ids, for the audit log.
    """
    if payload is not None and len(job_ids) != 1:
        raise InvalidInput("A payload can be edited for one job at a time.")
    with transaction.atomic():
        moved = store.redrive(job_ids) if payload is None else _redrive_edited(job_ids, payload)
        found = {} if found_by is None else {"filter": found_by}
        audit_jobs(actor, "redrive", tenant, moved, edited=payload is not None, **found)
    transaction.on_commit(wakeup.signal)
    return moved


def _redrive_edited(job_ids: Sequence[uuid.UUID], payload: bytes) -> list[uuid.UUID]:
    (job_id,) = job_ids
    key_id = Job.objects.filter(pk=job_id).values_list("tenant__key_id", flat=True).first()
    return store.redrive_edited(job_id, payload, key_of(key_id) if key_id else None)


def discard(job_ids: Sequence[uuid.UUID], *, actor: str, tenant: Tenant) -> list[uuid.UUID]:
    """Delete dead letters of a tenant with their attempts; answers the ids that were."""
    with transaction.atomic():
        gone = store.discard(job_ids)
        audit_jobs(actor, "discard", tenant, gone)
    return gone


def set_queue_paused(
    tenant: Tenant, queue: str, *, paused: bool, actor: str, reason: str = ""
) -> Lane:
    """Pause or resume a queue of the tenant; who paused it, when and why is kept with it.

    When a pause was answered, no job of the queue starts any more; running ones go on.
    Raises `QueueNotFound`.
    """
    with transaction.atomic():
        store.pass_gate_alone()
        lanes = Lane.objects.filter(tenant=tenant, queue=queue)
        lane = lanes.first()
        if lane is None:
            raise QueueNotFound(tenant.slug, queue)
        before = _pause_of(lane)
        pause = {"paused_at": Now() if paused else None, "paused_by": actor if paused else ""}
        news = lanes if reason else lanes.filter(is_paused=not paused)
        news.update(is_paused=paused, pause_reason=reason, **pause)
        lane.refresh_from_db()
        details = {"before": before, "after": _pause_of(lane)}
        audit(actor, "pause" if paused else "resume", tenant.pk, queue, **details)
    transaction.on_commit(wakeup.signal)
    return lane


def _pause_of(lane: Lane) -> dict[str, Any]:
    return {"paused": lane.is_paused, "reason": lane.pause_reason or None}


def change_limits(
    target: Tenant | Lane, *, actor: str, by_tenant: bool = False, **changes: Any
) -> None:
    """Change limits, weight or activity of a tenant or lane; in force at the next claim.

    An operator's pace alone ends a burst of the tenant's own that is above the operator's.
    Raises `AboveCeiling` where a tenant would raise itself above what its operator has set.
    """
    tenant_id = target.pk if isinstance(target, Tenant) else target.tenant_id
    with transaction.atomic():
        store.pass_gate_alone()
        target.refresh_from_db(fields=[*changes, *START_LIMITS, "ceilings"])
        if by_tenant:
            ceilings.refuse_above(target, changes)
        else:
            changes = ceilings.with_burst(target, changes)
        before = {name: getattr(target, name) for name in changes}
        target.ceilings = ceilings.kept_beside(target, changes, by_tenant=by_tenant)
        for name, value in changes.items():
            setattr(target, name, value)
        target.full_clean(validate_unique=False, validate_constraints=False)
        target.save(update_fields=[*changes, "ceilings"])
        if _PACE & set(changes):
            keep_clock(target, before.get("starts_per_minute", target.starts_per_minute))
        name = target.queue if isinstance(target, Lane) else target.slug
        audit(actor, "change_limits", tenant_id, name, before=before, after=changes)
    transaction.on_commit(wakeup.signal)


def set_task_limit(
    tenant: Tenant | None,
    task: str,
    *,
    actor: str,
    max_running: int | None = None,
    starts_per_minute: int | None = None,
    start_burst: int = 1,
    by_tenant: bool = False,
) -> TaskLimit:
    """Limit a task, for one tenant or (None) for all together; in force at the next claim.

    Replaces the limits that it had. Raises `InvalidInput` if there is none among them,
    `AboveCeiling` where a tenant would raise itself above what its operator has set, and
    `ValidationError` if one is impossible.
    """
    if max_running is None and starts_per_minute is None:
        raise InvalidInput(NEEDS_A_LIMIT)
    after = {
        "max_running": max_running,
        "starts_per_minute": starts_per_minute,
        "start_burst": start_burst,
    }
    with transaction.atomic():
        store.pass_gate_alone()
        limit = find_task_limit(tenant, task) or _new_task_limit(tenant, task)
        before = {name: getattr(limit, name) for name in after} if limit.pk else None
        if by_tenant:
            ceilings.refuse_above(limit, after)
        limit.ceilings = ceilings.kept_beside(limit, after, by_tenant=by_tenant)
        for name, value in after.items():
            setattr(limit, name, value)
        limit.full_clean(validate_unique=False, validate_constraints=False)
        limit.save()
        keep_clock(limit, before["starts_per_minute"] if before else None)
        audit(actor, "limit_task", limit.tenant_id, task, before=before, after=after)
    transaction.on_commit(wakeup.signal)
    return limit


def _new_task_limit(tenant: Tenant | None, task: str) -> TaskLimit:
    most = conf().max_task_limits_per_tenant
    if tenant is not None and TaskLimit.objects.filter(tenant=tenant).count() >= most:
        raise InvalidInput(f"A tenant may limit {most} tasks.", code="too_many_limits")
    return TaskLimit(tenant=tenant, task=task)


def remove_task_limit(
    tenant: Tenant | None, task: str, *, actor: str, by_tenant: bool = False
) -> bool:
    """Lift the limit of a task, of one tenant or (None) of all together; False if it had none.

    Raises `AboveCeiling` where a tenant would lift what its operator has set.
    """
    with transaction.atomic():
        store.pass_gate_alone()
        limit = find_task_limit(tenant, task)
        if limit is None:
            return False
        if by_tenant:
            ceilings.refuse_above(limit, {"max_running": None, "starts_per_minute": None})
        before = {name: getattr(limit, name) for name in START_LIMITS}
        clocks_of(limit).delete()
        limit.delete()
        audit(actor, "unlimit_task", tenant.pk if tenant else None, task, before=before)
    transaction.on_commit(wakeup.signal)
    return True


def find_task_limit(tenant: Tenant | None, task: str) -> TaskLimit | None:
    """The limit of a task, of one tenant or (None) of all together."""
    return TaskLimit.objects.filter(tenant=tenant, task=task).first()


def delete_tenant(tenant: Tenant, *, actor: str) -> None:
    """Delete a tenant that is switched off and has no jobs, with its lanes, keys and counts.

    Raises `StatusConflict` if it is not, or has.
    """
    with transaction.atomic():
        store.pass_gate_alone()
        tenant.refresh_from_db()
        if tenant.is_active or not store.forget_tenant(tenant.pk):
            raise StatusConflict("Only a tenant that is switched off and has no jobs can go.")
        clocks_of(tenant, *tenant.lanes.all(), *tenant.task_limits.all()).delete()
        audit(actor, "delete_tenant", None, tenant.slug, before=settings_of(tenant))
        tenant.delete()
