"""What workers over REST say of their leases: still at it, done, failed, given back.

Each call takes many and answers each on its own. All of it happens under the fence, and saying the
same again, because the answer was lost, is answered the same way: an outcome is recorded once.
"""

import random
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs import store, wakeup
from jobs.backoff import Backoff
from jobs.conf import conf
from jobs.leases import is_remote_worker, see_again
from jobs.models import Attempt, Job
from jobs.registry import exposed_tasks
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store import Lease, Outcome

_rng = random.Random()  # noqa: S311  (jitter)


class Refusal(StrEnum):
    """Why a report was not accepted. The worker drops the job, but for `TOO_LARGE`."""

    NOT_FOUND = "not_found"
    LEASE_LOST = "lease_lost"
    ALREADY_FINISHED = "already_finished"
    TIMED_OUT = "timed_out"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker is told about one lease: the job as it stands now, or why it was refused."""

    job_id: uuid.UUID
    fence: int
    job: Job | None = None
    refusal: Refusal | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A job that succeeded. `result` is JSON as UTF-8 bytes, stored as it is."""

    job_id: uuid.UUID
    fence: int
    result: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that failed. `retry_in_seconds` of None: the task's backoff."""

    job_id: uuid.UUID
    fence: int
    error_type: str = "Error"
    message: str = ""
    traceback: str = ""
    is_retryable: bool = True
    retry_in_seconds: float | None = None


class _Reported(Protocol):
    @property
    def job_id(self) -> uuid.UUID: ...

    @property
    def fence(self) -> int: ...


R = TypeVar("R", bound=_Reported)

_READ = (
    *("tenant_id", "lane_id", "task", "status", "attempt", "max_retries", "timeout_seconds"),
    *("fence", "worker", "cancel_requested", "run_at", "started_at", "lease_expires_at"),
)
"""What is read of a job to judge a report and to answer it: a row has twice as much."""

_TELLING: Mapping[Refusal, str] = {
    Refusal.NOT_FOUND: "There is no such job.",
    Refusal.LEASE_LOST: "The lease is no longer held; drop the job.",
    Refusal.ALREADY_FINISHED: "Another outcome of this lease was recorded before; drop the job.",
    Refusal.TIMED_OUT: "The attempt took longer than its timeout and has ended; drop the job.",
    Refusal.TOO_LARGE: "The result is too large; the lease is still held.",
}


def heartbeat(
    visible: QuerySet[Job], leases: Sequence[Lease], *, lease_seconds: float
) -> list[Answer]:
    """Extend the leases that are still held, and end those of jobs whose time is up.

    `visible` are the jobs that the caller may see. The jobs of the answers say whether they are to
    be stopped (`cancel_requested`), and how long the lease lasts.
    """
    jobs = _find(visible, leases)
    held = [lease for lease in leases if _is_held(jobs.get(lease.job_id), lease)]
    overdue = {lease for lease in held if _is_overdue(jobs[lease.job_id])}
    _record([_timed_out(jobs[lease.job_id]) for lease in overdue])
    extended = store.extend(
        [lease for lease in held if lease not in overdue], lease_seconds=lease_seconds
    )
    see_again({jobs[job_id].worker for job_id in extended})

    def judge(job: Job, lease: Lease) -> Refusal | None:
        if job.pk in extended:
            return None
        return Refusal.TIMED_OUT if _has_timed_out(job, lease) else Refusal.LEASE_LOST

    return _answers(visible, leases, judge)


def acknowledge(visible: QuerySet[Job], reports: Sequence[Done]) -> list[Answer]:
    """Record results, within the limit of their size."""
    limit = conf().max_result_bytes
    too_large = {report.job_id for report in reports if len(report.result) > limit}
    jobs = _find(visible, reports)
    recorded = _record(
        [
            _outcome(jobs[report.job_id], Status.DONE, result=report.result)
            for report in reports
            if _is_held(jobs.get(report.job_id), report) and report.job_id not in too_large
        ]
    )

    def judge(job: Job, report: Done) -> Refusal | None:
        if job.pk in recorded:
            return None
        if job.pk in too_large and _is_held(job, report):
            return Refusal.TOO_LARGE
        if job.status == Status.DONE and job.result is not None:
            is_same = bytes(job.result) == report.result
            return None if is_same else Refusal.ALREADY_FINISHED
        return _refusal(job, report)

    return _answers(visible, reports, judge)


def fail(visible: QuerySet[Job], reports: Sequence[Failed]) -> list[Answer]:
    """Record failures: each job is retried after a wait, or becomes a dead letter."""
    jobs = _find(visible, reports)
    recorded = _record(
        [
            _failure(jobs[report.job_id], report)
            for report in reports
            if _is_held(jobs.get(report.job_id), report)
        ]
    )

    def judge(job: Job, report: Failed) -> Refusal | None:
        if job.pk in recorded or _was_recorded(job, report):
            return None
        return _refusal(job, report)

    return _answers(visible, reports, judge)


def release(visible: QuerySet[Job], leases: Sequence[Lease]) -> list[Answer]:
    """Give jobs back, their attempts unspent; one whose cancellation was asked for ends so."""
    jobs = _find(visible, leases)
    with transaction.atomic():
        released = store.release([x for x in leases if _is_held(jobs.get(x.job_id), x)])
        transaction.on_commit(wakeup.signal)

    def judge(job: Job, lease: Lease) -> Refusal | None:
        was_released = job.status in {Status.PENDING, Status.CANCELLED} and not _attempt(job, lease)
        if job.pk in released or was_released:
            return None
        return _refusal(job, lease)

    return _answers(visible, leases, judge)


def _find(visible: QuerySet[Job], reports: Iterable[_Reported]) -> dict[uuid.UUID, Job]:
    asked = visible.filter(pk__in=[report.job_id for report in reports])
    return {job.pk: job for job in asked.only(*_READ).annotate(now=Now())}


def _is_held(job: Job | None, report: _Reported) -> bool:
    """Whether it looks so. The store asks again, in the statement that writes."""
    is_latest = job is not None and job.fence == report.fence and job.status == Status.RUNNING
    return is_latest and _is_leased_out(job)


def _is_leased_out(job: Job | None) -> bool:
    """Whether it went to a worker over REST, and not to one of ours: fences can be guessed."""
    return job is not None and is_remote_worker(job.worker)


def _record(outcomes: Sequence[Outcome]) -> Collection[uuid.UUID]:
    """Record outcomes of jobs of one tenant; answers the ids of those that were."""
    if not outcomes:
        return ()
    return store.finish(f"rest:{outcomes[0].tenant_id}", outcomes)


def _answers(
    visible: QuerySet[Job],
    reports: Sequence[R],
    judge: Callable[[Job, R], Refusal | None],
) -> list[Answer]:
    """What each is told, by how its job stands now. A stranger's job is no job."""
    asked = visible.filter(pk__in=[report.job_id for report in reports])
    jobs = {job.pk: job for job in asked.only(*_READ, "result")}
    return [_answer(jobs.get(report.job_id), report, judge) for report in reports]


def _answer(job: Job | None, report: R, judge: Callable[[Job, R], Refusal | None]) -> Answer:
    if job is None:
        refusal: Refusal | None = Refusal.NOT_FOUND
    elif job.fence != report.fence or (job.worker and not _is_leased_out(job)):
        refusal = Refusal.LEASE_LOST
    else:
        refusal = judge(job, report)
    if refusal is None:
        return Answer(report.job_id, report.fence, job)
    return Answer(report.job_id, report.fence, None, refusal, _TELLING[refusal])


def _refusal(job: Job, report: _Reported) -> Refusal:
    """Why a report under the latest fence comes too late."""
    attempt = _attempt(job, report)
    if attempt and attempt.outcome == AttemptOutcome.TIMED_OUT:
        return Refusal.TIMED_OUT
    has_reported = job.status == Status.DONE or (attempt and attempt.outcome != AttemptOutcome.LOST)
    return Refusal.ALREADY_FINISHED if has_reported else Refusal.LEASE_LOST


def _attempt(job: Job, report: _Reported) -> Attempt | None:
    """What was recorded of the lease if it failed; there is none if it was given back."""
    return Attempt.objects.filter(job_id=job.pk, fence=report.fence).first()


def _was_recorded(job: Job, report: Failed) -> bool:
    attempt = _attempt(job, report)
    same = _failure(job, report)
    return bool(
        attempt
        and attempt.outcome == AttemptOutcome.FAILED
        and (attempt.error_type, attempt.message, attempt.traceback)
        == (same.error_type, same.error_message, same.traceback)
    )


def _is_overdue(job: Job) -> bool:
    seconds = job.timeout_seconds or conf().default_timeout_seconds
    return _ran_seconds(job) > seconds


def _has_timed_out(job: Job, lease: Lease) -> bool:
    attempt = _attempt(job, lease)
    return bool(attempt and attempt.outcome == AttemptOutcome.TIMED_OUT)


def _timed_out(job: Job) -> Outcome:
    seconds = job.timeout_seconds or conf().default_timeout_seconds
    told = Failed(
        job.pk, job.fence, "timed_out", f"The job ran longer than its {seconds:g} seconds."
    )
    return replace(_failure(job, told), attempt_outcome=AttemptOutcome.TIMED_OUT)


def _failure(job: Job, report: Failed) -> Outcome:
    """FAILED, or a dead letter. If its cancellation was asked for, the store makes it CANCELLED."""
    reason = None
    if not job.cancel_requested and not report.is_retryable:
        reason = Reason.NOT_RETRYABLE
    elif not job.cancel_requested and job.attempt > job.max_retries:
        reason = Reason.RETRIES_EXHAUSTED
    return _outcome(
        job,
        Status.DLQ if reason else Status.FAILED,
        attempt_outcome=AttemptOutcome.FAILED,
        error_type=report.error_type,
        error_message=report.message,
        traceback=report.traceback,
        reason=reason,
        retry_in=0 if reason else _retry_in(job, report),
    )


def _retry_in(job: Job, report: Failed) -> float:
    if report.retry_in_seconds is not None:
        return report.retry_in_seconds
    task = exposed_tasks().get(job.task)
    default = Backoff(conf().backoff_base_seconds, conf().backoff_max_seconds)
    return (task.retry_policy if task else default).delay(job.attempt, _rng)


def _outcome(job: Job, status: Status, **rest: Any) -> Outcome:
    return Outcome(
        job_id=job.pk,
        fence=job.fence,
        lane_id=job.lane_id,
        tenant_id=job.tenant_id,
        status=status,
        waited_seconds=_waited_seconds(job),
        ran_seconds=_ran_seconds(job),
        **rest,
    )


def _waited_seconds(job: Job) -> float:
    return max(0.0, (job.started_at - job.run_at).total_seconds()) if job.started_at else 0.0


def _ran_seconds(job: Job) -> float:
    """By the database's clock, when the job was looked at."""
    now = getattr(job, "now", None)
    return max(0.0, (now - job.started_at).total_seconds()) if now and job.started_at else 0.0
