"""What becomes of an attempt, decided as a value. Writes nothing."""

import json
import random
import time
import traceback
from typing import Any

from jobs import store
from jobs.backoff import Backoff
from jobs.conf import conf
from jobs.errors import Cancel, Discard, JobTimeout, Retry
from jobs.registry import QueueTask, RawJSON
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store import ClaimedJob, Outcome
from jobs.tasksapi import normalize_json
from workers.held import HeldJob, Stop

_rng = random.Random()  # noqa: S311  (jitter)


def of_value(job: ClaimedJob, value: Any, ran_seconds: float) -> Outcome:
    """The outcome of a task that returned: DONE, unless what it returned cannot be stored."""
    if value is None:
        return _outcome(job, Status.DONE, ran_seconds, result=b"null")
    try:
        result = value if isinstance(value, RawJSON) else _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        return _dead(job, error, ran_seconds, Reason.NOT_RETRYABLE)
    if len(result) > conf().max_result_bytes:
        large = Discard(f"The result has {len(result)} bytes; {conf().max_result_bytes} may be.")
        return _dead(job, large, ran_seconds, Reason.NOT_RETRYABLE)
    return _outcome(job, Status.DONE, ran_seconds, result=bytes(result))


def of_error(job: ClaimedJob, task: QueueTask, error: BaseException, ran_seconds: float) -> Outcome:
    """The outcome of a task that raised, by what it raised and by the task's retry policy."""
    if isinstance(error, Cancel):
        return _outcome(job, Status.CANCELLED, ran_seconds)
    if isinstance(error, Discard):
        return _dead(job, error, ran_seconds, Reason.NOT_RETRYABLE)
    if job.attempt > job.max_retries:
        return _dead(job, error, ran_seconds, Reason.RETRIES_EXHAUSTED)
    after = error.after if isinstance(error, Retry) else None
    wait = task.retry_policy.delay(job.attempt, _rng) if after is None else after
    return _outcome(job, Status.FAILED, ran_seconds, retry_in=wait, **_described(error))


def of_loss(job: ClaimedJob, message: str) -> Outcome:
    """The outcome of an attempt whose process died under it."""
    return store.lost(job, loss_delay, message)


def of_stop(held: HeldJob, error: BaseException | None = None) -> Outcome | None:
    """The outcome of a job that was stopped; None if it is not ours, or not yet, to conclude.

    `error` is what the stop raised in the job's code: its traceback says where that was.
    """
    seconds = held.running_seconds(time.monotonic())
    if held.stop_reason is Stop.CANCELLED:
        return _outcome(held.job, Status.CANCELLED, seconds)
    if held.stop_reason is Stop.TIMEOUT:
        timeout = JobTimeout(f"The job ran for longer than its {held.timeout_seconds:g} seconds.")
        timeout = timeout.with_traceback(error.__traceback__ if error else None)
        return of_error(held.job, held.task, timeout, seconds)
    return None


def of_breakdown(job: ClaimedJob, error: BaseException, ran_seconds: float) -> Outcome:
    """The outcome of an attempt over which the engine itself failed, made of nothing that can."""
    dead = job.attempt > job.max_retries
    return _outcome(
        job,
        Status.DLQ if dead else Status.FAILED,
        ran_seconds,
        reason=Reason.RETRIES_EXHAUSTED if dead else None,
        retry_in=loss_delay(1),
        attempt_outcome=AttemptOutcome.FAILED,
        error_type=type(error).__name__,
        error_message="The attempt could not be concluded; see the worker's log.",
    )


def loss_delay(losses: int) -> float:
    """Seconds before the next attempt of a job that was lost: 1 to 2, then 2 to 4, and so on."""
    longest = Backoff(2, 60, jitter=False).delay(losses, _rng)
    return _rng.uniform(longest / 2, longest)


def _encode(value: Any) -> bytes:
    return json.dumps(normalize_json(value), ensure_ascii=False, allow_nan=False).encode()


def _dead(job: ClaimedJob, error: BaseException, ran_seconds: float, reason: Reason) -> Outcome:
    return _outcome(job, Status.DLQ, ran_seconds, reason=reason, **_described(error))


def _outcome(job: ClaimedJob, status: Status, ran_seconds: float, **rest: Any) -> Outcome:
    return Outcome(
        job_id=job.id,
        fence=job.fence,
        lane_id=job.lane_id,
        tenant_id=job.tenant_id,
        status=status,
        waited_seconds=job.waited_seconds,
        ran_seconds=ran_seconds,
        **rest,
    )


def _described(error: BaseException) -> dict[str, Any]:
    timed_out = isinstance(error, JobTimeout)
    kind = type(error)
    text = "".join(traceback.format_exception(error))
    return {
        "attempt_outcome": AttemptOutcome.TIMED_OUT if timed_out else AttemptOutcome.FAILED,
        "error_type": f"{kind.__module__}.{kind.__qualname__}"[:200],
        "error_message": _shortened(_message(error), conf().max_error_message),
        "traceback": _shortened(text, conf().max_traceback),
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as unprintable:  # the error is a user's class
        return f"<its message raised {type(unprintable).__name__}>"


def _shortened(text: str, limit: int) -> str:
    """The text, its middle cut out where it is too long."""
    if len(text) <= limit:
        return text
    half = limit // 2 - 20
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"
