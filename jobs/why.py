"""Why a job is where it is: the gates in its way, told in words and figures.

Nothing here decides anything; the claim does. What is said can be out of date a moment later.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q
from django.utils import timezone

from jobs.figures import live_workers
from jobs.instants import instant
from jobs.models import Job, Lane, Tenant, Worker
from jobs.statuses import TERMINAL, Status

COUNT_AT_MOST = 10_000


@dataclass(frozen=True)
class Gate:
    """One thing that a waiting job waits for. `used` of `limit` where it is a matter of room."""

    code: str
    text: str
    used: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Explanation:
    """Where a job stands and what it waits for; no gates: nothing is in its way."""

    status: Status
    text: str
    gates: tuple[Gate, ...] = ()


def explain(job: Job) -> Explanation:
    """Why the job does not run now, or what became of it."""
    status = Status(job.status)
    if status in TERMINAL:
        return Explanation(status, _ending(job))
    if status is Status.RUNNING:
        stopping = " and was asked to stop" if job.cancel_requested else ""
        return Explanation(status, f"The job runs on worker {job.worker}{stopping}.")
    gates = tuple(_gates(job, status))
    return Explanation(status, gates[0].text, gates)


def _ending(job: Job) -> str:
    match Status(job.status):
        case Status.DONE:
            return f"The job was done at {instant(job.finished_at)}."
        case Status.CANCELLED:
            return f"The job was cancelled at {instant(job.finished_at)}."
        case _:
            reason = job.reason.replace("_", " ") or "it failed"
            return f"The job is a dead letter ({reason}): {job.error_type} {job.error_message}"


def _gates(job: Job, status: Status) -> Iterator[Gate]:
    """The gates in the order in which they open; the place in line comes last."""
    lane = Lane.objects.select_related("tenant").get(pk=job.lane_id)
    yield from _time(job, status)
    yield from _switches(lane)
    yield from _limit("tenant_limit", lane.tenant, Q(tenant_id=job.tenant_id))
    yield from _limit("queue_limit", lane, Q(tenant_id=job.tenant_id, lane_id=job.lane_id))
    yield from _workers(job)
    if status is Status.PENDING:
        yield _place(job)


def _time(job: Job, status: Status) -> Iterator[Gate]:
    if status is Status.BLOCKED:
        yield Gate("blocked", "The job waits for jobs that it depends on.")
    elif status is Status.FAILED:
        yield Gate(
            "backoff",
            f"Attempt {job.attempt} failed ({job.error_type}); the next may start at "
            f"{instant(job.run_at)}.",
        )
    elif status is Status.SCHEDULED or job.run_at > timezone.now():
        yield Gate("scheduled", f"The job may start at {instant(job.run_at)}.")


def _switches(lane: Lane) -> Iterator[Gate]:
    if not lane.tenant.is_active:
        yield Gate("tenant_inactive", f"The tenant {lane.tenant.slug!r} is switched off.")
    if lane.is_paused:
        yield Gate("queue_paused", f"The queue {lane.queue!r} is paused.")


def _limit(code: str, holder: Tenant | Lane, running: Q) -> Iterator[Gate]:
    limit = holder.max_running
    if limit is None:
        return
    used = Job.objects.filter(running, status=Status.RUNNING).count()
    if used >= limit:
        whose = "tenant" if isinstance(holder, Tenant) else "queue"
        yield Gate(code, f"The {whose} runs {used} of {limit} jobs.", used, limit)


def _workers(job: Job) -> Iterator[Gate]:
    serving = [worker for worker in live_workers() if _serves(worker, job)]
    if not serving:
        yield Gate("no_worker", f"No live worker serves the queue {job.queue!r}.")
        return
    used, slots = sum(w.running for w in serving), sum(w.slots for w in serving)
    if used >= slots:
        yield Gate("workers_busy", f"All {slots} slots of the workers are taken.", used, slots)


def _serves(worker: Worker, job: Job) -> bool:
    return not worker.is_draining and (not worker.queues or job.queue in worker.queues)


def _place(job: Job) -> Gate:
    # Compared in the database, which may keep times coarser or finer than Python writes them.
    due = Job.objects.filter(pk=job.pk).values("run_at")[:1]
    earlier = (
        Q(priority__gt=job.priority)
        | Q(priority=job.priority, run_at__lt=due)
        | Q(priority=job.priority, run_at=due, pk__lt=job.pk)
    )
    line = Job.objects.filter(earlier, lane_id=job.lane_id, status=Status.PENDING).order_by()
    ahead = line[:COUNT_AT_MOST].count()
    if ahead == 0:
        return Gate("in_line", "The job is the next of its queue.", ahead)
    some = f"At least {ahead}" if ahead == COUNT_AT_MOST else str(ahead)
    return Gate("in_line", f"{some} ready jobs of its queue come before it.", ahead)
