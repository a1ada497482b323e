"""One attempt of one job: the user's function called, its ending turned into an outcome."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any

from django.core.cache import caches
from django.dispatch import Signal
from django.utils import timezone

from jobs.backend import JobQueueBackend, call_arguments
from jobs.encryption import Unreadable
from jobs.errors import Discard, StopRequest
from jobs.registry import QueueTask
from jobs.statuses import Status
from jobs.store import ClaimedJob, Outcome
from jobs.tasksapi import (
    TaskContext,
    TaskResult,
    TaskResultStatus,
    django_log,
    log_task_finished,
    log_task_started,
    task_finished,
    task_started,
)
from workers import logbook, outcomes

LONG_AGO = "(earlier attempt)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext(TaskContext):
    """What a task with `takes_context` gets: Django's context, and the job's own facts.

    `fence` rises with every attempt: hand it to systems that can refuse late writers. `payload` is
    the JSON as it was sent.
    """

    job_id: str
    tenant: str
    fence: int
    payload: bytes


def prepare_thread() -> None:
    """Make here, once, what the context of each job would otherwise make and connect anew."""
    for alias in caches:
        with suppress(Exception):  # a job that uses it is told
            caches[alias]


def run(job: ClaimedJob, task: QueueTask, worker: str) -> Outcome:
    """Run a synchronous task in this thread, or an asynchronous one on a loop of its own.

    In a context of its own: the thread's next job, which may be another tenant's, finds nothing of
    what it sets. Raises only `StopRequest`, where the engine stopped the task.
    """
    if iscoroutinefunction(task.func):
        return asyncio.run(run_async(job, task, worker, lambda: False))
    started = time.monotonic()
    try:
        args, kwargs = _call(job, task, worker)
        under = logbook.running.set(job)
        try:
            value = copy_context().run(task.func, *args, **kwargs)
        finally:
            logbook.running.reset(under)
    except StopRequest:
        raise
    except BaseException as error:  # SystemExit of a task is its failure, not ours
        return _failed(job, task, worker, error, time.monotonic() - started)
    return _returned(job, task, worker, value, time.monotonic() - started)


async def run_async(
    job: ClaimedJob, task: QueueTask, worker: str, is_stopped: Callable[[], bool]
) -> Outcome:
    """Run an asynchronous task. Raises `CancelledError` where the engine cancelled it."""
    started = time.monotonic()
    try:
        args, kwargs = _call(job, task, worker)
        under = logbook.running.set(job)
        try:
            value = await task.func(*args, **kwargs)
        finally:
            logbook.running.reset(under)
    except asyncio.CancelledError as error:
        if is_stopped():
            raise
        return _failed(job, task, worker, error, time.monotonic() - started)
    except BaseException as error:
        return _failed(job, task, worker, error, time.monotonic() - started)
    return _returned(job, task, worker, value, time.monotonic() - started)


def _call(job: ClaimedJob, task: QueueTask, worker: str) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(job.payload, Unreadable):  # although its key is here
        raise Discard("The stored payload was changed, or is another job's.")
    payload = json.loads(job.payload)
    args, kwargs = call_arguments(payload, task, has_args=job.has_args)
    if not (task.takes_context or _is_heard(task_started)):
        return args, kwargs
    result = _result(job, task, worker, TaskResultStatus.RUNNING, args, kwargs)
    _send(task_started, result)
    if task.takes_context:
        context = JobContext(
            task_result=result,
            job_id=str(job.id),
            tenant=job.tenant,
            fence=job.fence,
            payload=job.payload,
        )
        args = [context, *args]
    return args, kwargs


def _returned(
    job: ClaimedJob, task: QueueTask, worker: str, value: Any, ran_seconds: float
) -> Outcome:
    outcome = outcomes.of_value(job, value, ran_seconds)
    conclude(job, task, worker, outcome, value)
    return outcome


def _failed(
    job: ClaimedJob, task: QueueTask, worker: str, error: BaseException, ran_seconds: float
) -> Outcome:
    outcome = outcomes.of_error(job, task, error, ran_seconds)
    conclude(job, task, worker, outcome, None)
    return outcome


def conclude(job: ClaimedJob, task: QueueTask, worker: str, outcome: Outcome, value: Any) -> None:
    """Say how the attempt ended: in the log and, at the end of the job, by Django's signal."""
    if outcome.error_type:
        level = logging.ERROR if outcome.status is Status.DLQ else logging.WARNING
        message = "dead letter" if outcome.status is Status.DLQ else "attempt failed; will retry"
        _log.log(level, message, extra=described(job, worker) | {"error_type": outcome.error_type})
    if outcome.status is not Status.FAILED and _is_heard(task_finished):
        done = outcome.status is Status.DONE
        status = TaskResultStatus.SUCCESSFUL if done else TaskResultStatus.FAILED
        result = _result(job, task, worker, status, [], {})
        object.__setattr__(result, "_return_value", value)
        _send(task_finished, result)


def _is_heard(signal: Signal) -> bool:
    return bool(signal.receivers) and signal.has_listeners(JobQueueBackend)


def silence_unheard_logging() -> None:
    """Spare jobs the description that Django's own log would get, where nobody hears that.

    It tells each start and end at INFO. What failed is in our log too.
    """
    if not django_log.isEnabledFor(logging.INFO):
        task_started.disconnect(log_task_started)
        task_finished.disconnect(log_task_finished)


def described(job: ClaimedJob, worker: str) -> dict[str, object]:
    """The fields that name a job in a log line."""
    return {
        "job_id": str(job.id),
        "tenant": job.tenant,
        "task": job.task,
        "queue": job.queue,
        "attempt": job.attempt,
        "worker": worker,
    }


def _result(
    job: ClaimedJob,
    task: QueueTask,
    worker: str,
    status: TaskResultStatus,
    args: list[Any],
    kwargs: dict[str, Any],
) -> TaskResult:
    now = timezone.now()
    return TaskResult(
        task=task,
        id=str(job.id),
        status=status,
        enqueued_at=now - timedelta(seconds=job.waited_seconds),
        started_at=now,
        finished_at=None if status is TaskResultStatus.RUNNING else now,
        last_attempted_at=now,
        args=args,
        kwargs=kwargs,
        backend=task.backend,
        errors=[],
        worker_ids=[LONG_AGO] * (job.attempt - 1) + [worker],
    )


def _send(signal: Signal, result: TaskResult) -> None:
    """Tell the receivers; one that raises is logged and does not touch the job."""
    for receiver, response in signal.send_robust(JobQueueBackend, task_result=result):
        if isinstance(response, Exception):
            _log.error(
                "a receiver of %s failed", receiver, exc_info=response, extra={"job_id": result.id}
            )
