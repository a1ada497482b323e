"""The backend of Django's Tasks interface: `enqueue` submits a job, results are read from jobs."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from jobs import services
from jobs.access import get_job
from jobs.errors import UNREADABLE, JobNotFound, UnknownTask
from jobs.models import Attempt, Job, Tenant
from jobs.registry import QueueTask, adopt, find
from jobs.statuses import AttemptOutcome, Status
from jobs.submission import NewJob, tags_of
from jobs.tasksapi import (
    BaseTaskBackend,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_enqueued,
)

TENANT_SECONDS = 1.0
"""How long a tenant's settings are believed: a change reaches the calls of other processes then."""
recent_tenants: dict[str, tuple[float, Tenant]] = {}

STATUSES: Mapping[Status, TaskResultStatus] = {
    Status.SCHEDULED: TaskResultStatus.READY,
    Status.BLOCKED: TaskResultStatus.READY,
    Status.PENDING: TaskResultStatus.READY,
    Status.FAILED: TaskResultStatus.READY,
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.DONE: TaskResultStatus.SUCCESSFUL,
    Status.DLQ: TaskResultStatus.FAILED,
    Status.CANCELLED: TaskResultStatus.FAILED,
}
"""What Django calls our statuses."""


@receiver([post_save, post_delete], sender=Tenant)
def _forget_tenant(instance: Tenant, **kwargs: object) -> None:
    recent_tenants.pop(instance.slug, None)


class JobCancelled(Exception):
    """The error of a result whose job was cancelled."""


class LeaseLost(Exception):
    """The error of an attempt whose worker died or went silent."""


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class JobQueueBackend(BaseTaskBackend):
    """Runs Django's tasks as jobs of a tenant.

    The option `tenant` is the slug of the owner of tasks that name none; that tenant is made, with
    no limits, when it is first needed. A task enqueued in a transaction is there when it commits.
    """

    task_class = QueueTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Submit the call as a job. Raises what `services.submit_many` raises.

        A call whose idempotency key was used before is answered with how the earlier job stands.
        """
        self.validate_task(task)
        call: Any = normalize_json([args, kwargs])
        args, kwargs = call
        submitted = services.submit(self._tenant(task), new_job(task, args, kwargs))
        if not submitted.created:
            return self.get_result(str(submitted.job_id))
        result = self._result(task, submitted.job_id, args, kwargs)
        task_enqueued.send_robust(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """The state of a job, as Django's result. Raises `TaskResultDoesNotExist`.

        And one of `UNREADABLE` for a job that is encrypted with a key that is gone.
        """
        try:
            job = get_job(Job.objects.all(), result_id)
            return job_result(job, find(job.task), self.alias)
        except (JobNotFound, UnknownTask) as error:
            raise TaskResultDoesNotExist(result_id) from error

    def _tenant(self, task: Task) -> Tenant:
        """Whose job it will be, as that tenant was a moment ago: a call need not read it again."""
        slug = getattr(task, "tenant", None) or self.options.get("tenant", "default")
        read_at, tenant = recent_tenants.get(slug, (0.0, None))
        if tenant and time.monotonic() - read_at < TENANT_SECONDS:
            return tenant
        tenant = self._read_tenant(slug, is_default=getattr(task, "tenant", None) is None)
        if not connection.in_atomic_block:  # what is read there may never have been
            recent_tenants[slug] = (time.monotonic(), tenant)
        return tenant

    def _read_tenant(self, slug: str, *, is_default: bool) -> Tenant:
        if not is_default:
            return Tenant.objects.get(slug=slug)
        no_limits = {"max_running": None, "submissions_per_minute": None}
        return Tenant.objects.get_or_create(slug=slug, defaults=no_limits)[0]

    def _result(
        self,
        task: Task,
        job_id: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> TaskResult:
        return TaskResult(
            task=task,
            id=str(job_id),
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )


def new_job(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> NewJob:
    """The job of a Python call."""
    options = adopt(task)
    payload, has_args = _payload(options, args, kwargs)
    return NewJob(
        task=options.job_task,
        payload=_json.encode(payload).encode(),
        has_args=has_args,
        queue=task.queue_name,
        priority=int(task.priority),
        run_at=task.run_after,
        max_retries=options.retries,
        timeout_seconds=options.timeout,
        tags=tuple(options.tags),
        worker_tags=tuple(options.worker_tags),
        idempotency_key=options.idempotency_key,
        request_hash=_call_hash(options, payload) if options.idempotency_key else "",
    )


def _payload(task: QueueTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, bool]:
    """The payload, and whether it holds positional arguments beside the keyword arguments."""
    if task.takes_payload:
        if len(args) + len(kwargs) != 1:
            raise TypeError(f"{task.name} takes one argument, the payload.")
        return next(iter([*args, *kwargs.values()])), False
    if args:
        return {"args": list(args), "kwargs": dict(kwargs)}, True
    return dict(kwargs), False


def _call_hash(task: QueueTask, payload: Any) -> str:
    """Equal for calls of one task with equal arguments, whatever their options."""
    call = json.dumps([task.job_task, payload], sort_keys=True)
    return hashlib.sha256(call.encode()).hexdigest()


def call_arguments(
    payload: Any, task: QueueTask, *, has_args: bool
) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword arguments that a payload stands for."""
    if has_args:
        return payload["args"], payload["kwargs"]
    if task.takes_payload:
        return [payload], {}
    return [], payload


def job_result(job: Job, task: QueueTask, alias: str) -> TaskResult:
    """A job as Django's result. Raises one of `UNREADABLE` if what it carries cannot be opened."""
    _refuse_unreadable(job)
    attempts = list(job.attempts.order_by("fence"))
    args, kwargs = call_arguments(json.loads(bytes(job.payload)), task, has_args=job.has_args)
    result: TaskResult = TaskResult(
        task=_as_enqueued(task, job, alias),
        id=str(job.pk),
        status=STATUSES[Status(job.status)],
        enqueued_at=job.created_at,
        started_at=attempts[0].started_at if attempts else job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.started_at or (attempts[-1].started_at if attempts else None),
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=_errors(job, attempts),
        worker_ids=_worker_ids(job, attempts),
    )
    if job.result is not None:
        object.__setattr__(result, "_return_value", json.loads(bytes(job.result)))
    return result


def _refuse_unreadable(job: Job) -> None:
    """Raise what keeps the job from being read: better no result than one that says nothing."""
    for error in UNREADABLE:
        if job.unreadable == error.code:
            raise error(f"The job {job.pk} cannot be read: {job.unreadable}.")


def _as_enqueued(task: QueueTask, job: Job, alias: str) -> QueueTask:
    """The task with the options of the job, on the backend that was asked.

    Set past the dataclass's validation: a job of a queue or with a priority that is no longer
    allowed must still be readable.
    """
    copy = object.__new__(QueueTask)
    for name in QueueTask.__dataclass_fields__:
        object.__setattr__(copy, name, getattr(task, name))
    run_after = job.run_at if job.run_at > job.created_at + timedelta(seconds=1) else None
    for name, value in (
        ("backend", alias),
        ("priority", job.priority),
        ("queue_name", job.queue),
        ("run_after", run_after),
        ("worker_tags", tuple(tags_of(job.worker_tags))),
    ):
        object.__setattr__(copy, name, value)
    return copy


def _errors(job: Job, attempts: Sequence[Attempt]) -> list[TaskError]:
    errors = [
        _error(LeaseLost, attempt.message)
        if attempt.outcome == AttemptOutcome.LOST
        else TaskError(exception_class_path=attempt.error_type, traceback=attempt.traceback)
        for attempt in attempts
    ]
    if job.status == Status.CANCELLED:
        errors.append(_error(JobCancelled, "The job was cancelled."))
    return errors


def _error(error: type[Exception], text: str) -> TaskError:
    path = f"{error.__module__}.{error.__qualname__}"
    return TaskError(exception_class_path=path, traceback=text)


def _worker_ids(job: Job, attempts: Sequence[Attempt]) -> list[str]:
    """One entry for each attempt, those before a redrive too: Django counts attempts by them."""
    ids = [attempt.worker for attempt in attempts]
    has_row = bool(attempts) and attempts[-1].fence == job.fence
    if job.worker and not has_row:
        ids.append(job.worker)
    return ids
