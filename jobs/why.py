"""Why a job is where it is: the gates in its way, told in words and figures.

Nothing here decides anything; the claim does. What is said can be out of date a moment later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Min, Q, Sum
from django.db.models.functions import Now

from jobs.data_keys import key_of
from jobs.errors import EncryptionKeyErased, EncryptionKeyMissing
from jobs.instants import told
from jobs.models import Job, Lane, LaneMinute, Line, Tenant, TenantKey, Worker
from jobs.registry import is_for_tenants
from jobs.remote import is_remote
from jobs.statuses import TERMINAL, Status
from jobs.store.lines import Limit, lines_of
from jobs.store.place import jobs_ahead
from jobs.store.rooms import Rooms
from jobs.submission import tags_of
from jobs.worker_states import live_workers

RECENT = timedelta(minutes=5)
"""The wait in line is estimated from what a lane's jobs did in this time."""

_SHUT = ("tenant_inactive", "queue_paused")
_SEALED = ("encryption_key_missing", "encryption_key_erased")
_UNSERVED = ("no_worker", "no_worker_with_tags", "no_worker_for_task")
GATES = (
    *("blocked", "backoff", "scheduled", *_SHUT, *_SEALED),
    *("tenant_limit", "tenant_rate", "queue_limit", "queue_rate"),
    *("task_limit", "task_rate", "shared_task_limit", "shared_task_rate"),
    *(*_UNSERVED, "workers_busy", "in_line"),
)
"""The codes of all gates."""


@dataclass(frozen=True)
class Gate:
    """One thing that a waiting job waits for.

    `used` of `limit` where it is a matter of room, `limit` alone where it is one of pace;
    `opens_at` where it is a matter of time. `wait_seconds` is a guess, of the place in line alone.
    """

    code: str
    text: str
    used: int | None = None
    limit: int | None = None
    opens_at: datetime | None = None
    wait_seconds: float | None = None


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
    gates = _gates(job, status)
    return Explanation(status, gates[0].text, gates)


def _ending(job: Job) -> str:
    ended_at = told(job.finished_at or job.created_at)
    match Status(job.status):
        case Status.DONE:
            return f"The job was done at {ended_at}."
        case Status.CANCELLED:
            return f"The job was cancelled at {ended_at}."
        case _:
            reason = job.reason.replace("_", " ") or "it failed"
            return f"The job is a dead letter ({reason}): {job.error_type} {job.error_message}"


def _gates(job: Job, status: Status) -> tuple[Gate, ...]:
    """The gates in the order in which they open; the place in line comes last."""
    lane = Lane.objects.select_related("tenant").annotate(now=Now()).get(pk=job.lane_id)
    now: datetime = lane.now
    gates = [
        *_time(job, status),
        *_switches(lane),
        *_keys(job, lane.tenant),
        *_limits(job, now),
        *_workers(job),
    ]
    if status is Status.PENDING:
        gates.append(_place(job, gates, now))
    return tuple(gates)


def _time(job: Job, status: Status) -> Iterator[Gate]:
    if status is Status.BLOCKED:
        yield Gate("blocked", "The job waits for jobs that it depends on.")
    elif status is Status.FAILED:
        failed = f"Attempt {job.attempt} failed ({job.error_type})"
        text = f"{failed}; the next may start at {told(job.run_at)}."
        yield Gate("backoff", text, opens_at=job.run_at)
    elif status is Status.SCHEDULED:
        text = f"The job may start at {told(job.run_at)}."
        yield Gate("scheduled", text, opens_at=job.run_at)


def _switches(lane: Lane) -> Iterator[Gate]:
    if not lane.tenant.is_active:
        yield Gate("tenant_inactive", f"The tenant {lane.tenant.slug!r} is switched off.")
    if lane.is_paused:
        yield Gate("queue_paused", f"The queue {lane.queue!r} is paused{_pause(lane)}.")


def _pause(lane: Lane) -> str:
    """By whom, since when and why, where that is known."""
    if lane.paused_at is None:
        return ""
    why = f": {lane.pause_reason}" if lane.pause_reason else ""
    return f" by {lane.paused_by} since {told(lane.paused_at)}{why}"


def _keys(job: Job, tenant: Tenant) -> Iterator[Gate]:
    """The keys that an encrypted job needs: of its payload, and for what will come of it."""
    if not tenant.key_id:
        return
    of_line = Line.objects.values_list("key_id", flat=True).get(pk=job.line_id)
    needed = sorted({of_line, abs(tenant.key_id)} - {0})
    try:
        for key_id in needed:
            key_of(key_id)
    except (EncryptionKeyMissing, EncryptionKeyErased) as error:
        is_for_good = isinstance(error, EncryptionKeyErased) and key_id == of_line
        yield Gate(error.code, f"{error}{' The job can only be cancelled.' * is_for_good}")
        return
    wrapping = set(TenantKey.objects.filter(pk__in=needed).values_list("wrapped_by", flat=True))
    own = list(live_workers().filter(tenant=None))
    if own and not any(wrapping <= set(worker.environment_keys.split(",")) for worker in own):
        names = " and ".join(map(repr, sorted(wrapping)))
        text = f"No live worker of the installation has {names} in its ENCRYPTION_KEYS."
        yield Gate("encryption_key_missing", text)


def _limits(job: Job, now: datetime) -> Iterator[Gate]:
    """What the limits say of a queue that is open; others have no line to claim from."""
    line = next((one for one in lines_of([job.lane_id]) if one.id == job.line_id), None)
    if line is None:
        return
    rooms = Rooms([line])
    own, of_task = Q(tenant_id=job.tenant_id), Q(task=job.task)
    task = f"The task {job.task!r}"
    for kind, who, limit, running in (
        ("tenant", "The tenant", line.tenant_limit, own),
        ("queue", "The queue", line.lane_limit, own & Q(lane_id=job.lane_id)),
        ("task", task, line.task_limit, own & of_task),
        ("shared_task", f"{task} of all tenants together", line.shared_limit, of_task),
    ):
        if limit:
            yield from _room(f"{kind}_limit", who, limit, running)
            opens_in = rooms.opens_in(line._replace(limits=(limit,)))
            yield from _pace(f"{kind}_rate", who, limit, now, opens_in)


def _room(code: str, who: str, limit: Limit, running: Q) -> Iterator[Gate]:
    most = limit.max_running
    if most is not None:
        used = Job.objects.filter(running, status=Status.RUNNING).count()
        if used >= most:
            yield Gate(code, f"{who} runs {used} of {most} jobs.", used, most)


def _pace(code: str, who: str, limit: Limit, now: datetime, opens_in: float) -> Iterator[Gate]:
    if opens_in > 0:
        opens_at = now + timedelta(seconds=opens_in)
        pace = f"{who} may start {limit.starts_per_minute} a minute"
        text = f"{pace}; the next at {told(opens_at)}."
        yield Gate(code, text, limit=limit.starts_per_minute, opens_at=opens_at)


def _workers(job: Job) -> Iterator[Gate]:
    """What is missing for some worker to take the job: a queue, tags, its task, or a slot."""
    need = Need(job.tenant_id, job.queue, job.task, job.worker_tags)
    own = Q(tenant=None) | Q(tenant_id=job.tenant_id)
    live = list(live_workers().filter(own))
    gate = missing_worker(need, live)
    if gate:
        yield gate
    else:
        yield from _slots(_able(need, live))


class Need(NamedTuple):
    """What a worker must serve, know and have for a job; the tags with commas between them."""

    tenant_id: int
    queue: str
    task: str
    worker_tags: str


def missing_worker(need: Need, workers: Iterable[Worker]) -> Gate | None:
    """Why none of these workers, which are alive, takes such jobs; None if one does."""
    serving = [worker for worker in workers if _takes_from(worker, need)]
    tagged = _tagged(need, serving)
    tags = tags_of(need.worker_tags)
    having = f" with the tag{'s' if len(tags) > 1 else ''} {', '.join(tags)}" if tags else ""
    if not serving:
        return Gate("no_worker", f"No live worker serves the queue {need.queue!r}.")
    if not tagged:
        text = f"No live worker{having} serves the queue {need.queue!r}."
        return Gate("no_worker_with_tags", text)
    if not any(_may_know(worker, need.task) for worker in tagged):
        text = f"No live worker{having} of the queue {need.queue!r} knows the task {need.task!r}."
        return Gate("no_worker_for_task", text)
    return None


def _able(need: Need, workers: Iterable[Worker]) -> list[Worker]:
    tagged = _tagged(need, (worker for worker in workers if _takes_from(worker, need)))
    return [worker for worker in tagged if _may_know(worker, need.task)]


def _takes_from(worker: Worker, need: Need) -> bool:
    is_own = worker.tenant_id in {None, need.tenant_id}
    return is_own and (not worker.queues or need.queue in worker.queues)


def _tagged(need: Need, workers: Iterable[Worker]) -> list[Worker]:
    tags = set(tags_of(need.worker_tags))
    return [worker for worker in workers if tags <= set(worker.tags)]


def _may_know(worker: Worker, task: str) -> bool:
    """False if it certainly does not: workers announce the tasks that have names of their own.

    Ours find others by their import path, which has a dot; a tenant's runs what tenants may.
    """
    if task in worker.tasks:
        return True
    if worker.tenant_id:
        return not worker.tasks and is_for_tenants(task)
    return "." in task and not is_remote(task)


def _slots(workers: Sequence[Worker]) -> Iterator[Gate]:
    used, slots = sum(w.running for w in workers), sum(w.slots for w in workers)
    if used >= slots:
        yield Gate("workers_busy", f"All {slots} slots of the workers are taken.", used, slots)


def _place(job: Job, others: Sequence[Gate], now: datetime) -> Gate:
    """The place in line; with an estimate of the wait unless another gate lets nothing start."""
    ahead, is_all = jobs_ahead(job.pk, job.lane_id)
    text = "The job is the next of its queue"
    if ahead:
        some = str(ahead) if is_all else f"At least {ahead}"
        text = f"{some} ready {'jobs come' if ahead > 1 else 'job comes'} before it in its queue"
    is_moving = not {gate.code for gate in others} & {*_SHUT, *_SEALED, *_UNSERVED}
    per_second = _starts_per_second(job.lane_id, now) if is_moving else 0
    if not per_second:
        return Gate("in_line", f"{text}.", ahead)
    opens_in = [(gate.opens_at - now).total_seconds() for gate in others if gate.opens_at]
    wait = round(max([(ahead + 1) / per_second, *opens_in]), 1)
    about = f"about {wait:.0f} s" if wait >= 1 else "less than a second"
    return Gate("in_line", f"{text}: {about}.", ahead, wait_seconds=wait)


def _starts_per_second(lane_id: int, now: datetime) -> float:
    """How many attempts of the lane went through lately, a second; 0 if none did."""
    lately = LaneMinute.objects.filter(lane_id=lane_id, minute__gt=now - RECENT, started__gt=0)
    found = lately.aggregate(started=Sum("started"), first=Min("minute"))
    if not found["started"]:
        return 0.0
    return float(found["started"] / max(1.0, (now - found["first"]).total_seconds()))
