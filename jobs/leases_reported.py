"""What workers over REST say of their leases: still at it, done, failed, given back.

Each call takes many and answers each on its own. All of it happens under the fence, and saying the
same again, because the answer was lost, or twice in a call, is answered the same way: an outcome is
recorded once.
"""

import random
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeVar

from django.db import transaction

from jobs import store, wakeup
from jobs.backoff import Backoff
from jobs.conf import conf
from jobs.data_keys import key_of
from jobs.job_rows import find_jobs
from jobs.keys import may_use
from jobs.leases import is_remote_worker, outcome_of, ran_seconds, record, see_again
from jobs.models import ApiKey, Attempt, Job, Tenant
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
    """What a worker is told about one lease: the job as it stands now, or why it was refused.

    The job may have another fence by now: whatever it says of a lease is then another worker's.
    """

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


class Reported(Protocol):
    """Whatever is said of a lease: it names the lease."""

    @property
    def job_id(self) -> uuid.UUID:
        """The job."""

    @property
    def fence(self) -> int:
        """Which lease on it."""


R = TypeVar("R", bound=Reported)

_READ = (
    *("tenant_id", "lane_id", "queue", "task", "status", "attempt", "max_retries"),
    *("timeout_seconds", "fence", "worker", "cancel_requested", "run_at", "started_at"),
    "lease_expires_at",
)
"""What is read of a job to judge a report and to answer it: a row has twice as much."""

_TELLING: Mapping[Refusal, str] = {
    Refusal.NOT_FOUND: "There is no such job.",
    Refusal.LEASE_LOST: "The lease is no longer held; drop the job.",
    Refusal.ALREADY_FINISHED: "Another outcome of this lease was recorded before; drop the job.",
    Refusal.TIMED_OUT: "The attempt took longer than its timeout and has ended; drop the job.",
    Refusal.TOO_LARGE: "The result is too large; the lease is still held.",
}


def heartbeat(key: ApiKey, leases: Sequence[Lease], *, lease_seconds: float) -> list[Answer]:
    """Extend the leases that are still held, and end those of jobs whose time is up.

    A job that the key may not see is none, here and below. The jobs of the answers say whether they
    are to be stopped (`cancel_requested`), and how long the lease lasts.
    """
    jobs = find_reported(key, leases)
    held = [lease for lease in set(leases) if is_held(jobs.get(lease.job_id), lease)]
    overdue = {lease for lease in held if _is_overdue(jobs[lease.job_id])}
    _record([_timed_out(jobs[lease.job_id]) for lease in overdue])
    extended = store.extend(
        [lease for lease in held if lease not in overdue], lease_seconds=lease_seconds
    )
    see_again({jobs[job_id].worker for job_id in extended}, are_busy=True)

    def judge(job: Job, lease: Lease, attempt: Attempt | None) -> Refusal:
        return Refusal.TIMED_OUT if _has_timed_out(attempt) else Refusal.LEASE_LOST

    return answers_to(key, leases, _leases(jobs, extended), judge)


def acknowledge(key: ApiKey, reports: Sequence[Done]) -> list[Answer]:
    """Record results, within the limit of their size."""
    limit = conf().max_result_bytes
    too_large = {_lease(report) for report in reports if len(report.result) > limit}
    jobs = find_reported(key, reports)
    recorded = _record(
        [
            outcome_of(jobs[report.job_id], Status.DONE, result=report.result)
            for report in set(reports)
            if is_held(jobs.get(report.job_id), report) and _lease(report) not in too_large
        ],
        key.tenant,
    )

    def judge(job: Job, report: Done, attempt: Attempt | None) -> Refusal | None:
        if _lease(report) in too_large and is_held(job, report):
            return Refusal.TOO_LARGE
        is_done = job.status == Status.DONE and job.fence == report.fence
        if is_done and job.result is not None:
            is_same = bytes(job.result) == report.result
            return None if is_same else Refusal.ALREADY_FINISHED
        return refusal_of(job, report, attempt)

    done = {job_id: _as_done(jobs[job_id]) for job_id in recorded}
    return answers_to(key, reports, _leases(jobs, recorded), judge, known=done)


def _as_done(job: Job) -> Job:
    """The job as it stands for good once it is DONE: nobody has to look again."""
    job.status, job.lease_expires_at = Status.DONE.value, None
    return job


def fail(key: ApiKey, reports: Sequence[Failed]) -> list[Answer]:
    """Record failures: each job is retried after a wait, or becomes a dead letter.

    What was recorded is kept, so a failure repeated is answered as before, whoever has the job now.
    """
    jobs = find_reported(key, reports)
    recorded = _record(
        [
            _failure(jobs[report.job_id], report)
            for report in set(reports)
            if is_held(jobs.get(report.job_id), report)
        ],
        key.tenant,
    )

    def judge(job: Job, report: Failed, attempt: Attempt | None) -> Refusal | None:
        return None if _was_recorded(job, report, attempt) else refusal_of(job, report, attempt)

    return answers_to(key, reports, _leases(jobs, recorded), judge)


def release(key: ApiKey, leases: Sequence[Lease]) -> list[Answer]:
    """Give jobs back, their attempts unspent; one whose cancellation was asked for ends so.

    Nothing is kept of it: repeated, it is answered as before until somebody else gets the job.
    """
    jobs = find_reported(key, leases)
    with transaction.atomic():
        released = store.release([x for x in set(leases) if is_held(jobs.get(x.job_id), x)])
        transaction.on_commit(wakeup.signal)

    def judge(job: Job, lease: Lease, attempt: Attempt | None) -> Refusal | None:
        was_released = job.status in {Status.PENDING, Status.CANCELLED} and not attempt
        return None if was_released else refusal_of(job, lease, attempt)

    return answers_to(key, leases, _leases(jobs, released), judge)


def find_reported(key: ApiKey, reports: Iterable[Reported], *more: str) -> dict[uuid.UUID, Job]:
    """The jobs of the reports that the key may see, with `_READ` and more of their fields."""
    job_ids = [report.job_id for report in reports]
    found = find_jobs(key.tenant_id, job_ids, only=(*_READ, *more)) if job_ids else {}
    return {job_id: job for job_id, job in found.items() if may_use(key, job.queue)}


def is_held(job: Job | None, report: Reported) -> bool:
    """Whether it looks so. The store asks again, in the statement that writes."""
    is_latest = job is not None and job.fence == report.fence and job.status == Status.RUNNING
    return is_latest and _is_leased_out(job)


def _is_leased_out(job: Job | None) -> bool:
    """Whether it went to a worker over REST, and not to one of ours: fences can be guessed."""
    return job is not None and is_remote_worker(job.worker)


def _record(outcomes: Sequence[Outcome], of: Tenant | None = None) -> Collection[uuid.UUID]:
    """Record outcomes of jobs of one tenant; answers the ids of those that were.

    `of` is the tenant if it has said what they tell, which is sealed if that is wanted. Raises what
    `key_of` does: then all of it is still to be reported.
    """
    if not outcomes:
        return ()
    if of and of.key_id:
        sealing = key_of(of.key_id)
        outcomes = [outcome.sealed(sealing) for outcome in outcomes]
    return record(f"rest:{outcomes[0].tenant_id}", outcomes)


def _lease(report: Reported) -> Lease:
    return Lease(report.job_id, report.fence)


def _leases(jobs: Mapping[uuid.UUID, Job], job_ids: Iterable[uuid.UUID]) -> set[Lease]:
    """The leases of jobs that were read, which the store has answered for."""
    return {Lease(job_id, jobs[job_id].fence) for job_id in job_ids}


def answers_to(
    key: ApiKey,
    reports: Sequence[R],
    accepted: Collection[Lease],
    judge: Callable[[Job, R, Attempt | None], Refusal | None],
    known: Mapping[uuid.UUID, Job] = MappingProxyType({}),
) -> list[Answer]:
    """What each is told. What the store has just `accepted` stays so, whoever has the job by now.

    The others are judged by how their jobs stand, and by what was recorded of their leases. Jobs of
    which it is `known` how they stand are not read again.
    """
    jobs = {**known, **find_reported(key, [x for x in reports if x.job_id not in known], "result")}
    attempts = _attempts([x for x in reports if x.job_id in jobs and _lease(x) not in accepted])

    def refusal(report: R) -> Refusal | None:
        if _lease(report) in accepted:
            return None
        job, attempt = jobs.get(report.job_id), attempts.get((report.job_id, report.fence))
        if job is None:
            return Refusal.NOT_FOUND
        is_known = attempt is not None or _is_latest(job, report)
        return judge(job, report, attempt) if is_known else Refusal.LEASE_LOST

    return [_answer(report, jobs.get(report.job_id), refusal(report)) for report in reports]


def _answer(report: Reported, job: Job | None, refusal: Refusal | None) -> Answer:
    if refusal is None:
        return Answer(report.job_id, report.fence, job)
    return Answer(report.job_id, report.fence, None, refusal, _TELLING[refusal])


def _is_latest(job: Job, report: Reported) -> bool:
    """Whether nobody was granted the job since, and none of our own workers had it."""
    return job.fence == report.fence and (not job.worker or _is_leased_out(job))


def refusal_of(job: Job, report: Reported, attempt: Attempt | None) -> Refusal:
    """Why a report comes too late."""
    if _has_timed_out(attempt):
        return Refusal.TIMED_OUT
    is_done = job.status == Status.DONE and job.fence == report.fence
    has_failed = attempt is not None and attempt.outcome != AttemptOutcome.LOST
    return Refusal.ALREADY_FINISHED if is_done or has_failed else Refusal.LEASE_LOST


def _attempts(reports: Sequence[Reported]) -> dict[tuple[uuid.UUID, int], Attempt]:
    """What was recorded of leases over REST that failed; of those given back there is nothing."""
    if not reports:
        return {}
    fences = {report.fence for report in reports}
    found = Attempt.objects.filter(
        job_id__in=[report.job_id for report in reports], fence__in=fences
    )
    return {(x.job_id, x.fence): x for x in found if is_remote_worker(x.worker)}


def _has_timed_out(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.outcome == AttemptOutcome.TIMED_OUT


def _was_recorded(job: Job, report: Failed, attempt: Attempt | None) -> bool:
    same = _failure(job, report)
    return bool(
        attempt
        and attempt.outcome == AttemptOutcome.FAILED
        and (attempt.error_type, attempt.message, attempt.traceback)
        == (same.error_type, same.error_message, same.traceback)
    )


def _is_overdue(job: Job) -> bool:
    seconds = job.timeout_seconds or conf().default_timeout_seconds
    return ran_seconds(job) > seconds


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
    return outcome_of(
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
