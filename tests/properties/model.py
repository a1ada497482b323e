"""What the queue should do, said once more and as simply as possible: no database, no clock.

Time is a number of seconds that moves by whole `STEP`s, while all waits end half a step after or
before one. So the moment that a test itself takes never decides what is due.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from jobs.errors import (
    IdempotencyMismatch,
    InvalidInput,
    QueueFull,
    TenantInactive,
    TooManyRequests,
)
from jobs.statuses import TERMINAL, WAITING, Status
from jobs.submission import NewJob
from tests.properties.limits import SET_BACK, Limit

STEP = 100
LEASE = 150
BACKOFF = 50
MAX_LOST = 3
RATE_WINDOW = 60
SECONDS_OFF = 20
"""All times here are whole multiples of this; a run must not take as long."""

KEPT, DEAD_KEPT = 50, 150
"""How long jobs are kept after their end."""

Lane = tuple[str, str]
Line = tuple[str, tuple[str, ...]]
"""A task and the tags that its worker must have."""
Grant = tuple[uuid.UUID, int]
Holder = tuple[str, ...]
"""Whose limit it is: ("tenant", name), ("lane", name, queue), ("task", name or "", task)."""


def holders(lane: Lane, task: str) -> tuple[Holder, ...]:
    """All whose limits hold for a job, its tenant's and its lane's first."""
    name, queue = lane
    return ("tenant", name), ("lane", name, queue), ("task", name, task), ("task", "", task)


@dataclass
class Tenant:
    """Who submits, and within which limits."""

    is_active: bool = True
    rate: int | None = None
    max_pending: int | None = None
    submissions: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Job:
    """Where a job stands and how it came there."""

    tenant: str
    queue: str
    task: str
    tags: tuple[str, ...]
    priority: int
    max_retries: int
    key: str | None
    status: Status
    run_at: int
    attempt: int = 0
    lost: int = 0
    failures: int = 0
    fence: int = 0
    worker: str = ""
    lease_until: int | None = None
    to_cancel: bool = False
    ended_at: int = 0

    @property
    def lane(self) -> Lane:
        """Its tenant and queue."""
        return self.tenant, self.queue

    @property
    def line(self) -> Line:
        """What its worker must know and have."""
        return self.task, self.tags

    def move(self, status: Status, now: int = 0) -> None:
        """Go there. An end is left by a redrive alone, which is a new beginning."""
        assert self.status not in TERMINAL, f"{self.status} is an end"
        self.status, self.ended_at = status, now
        if status is not Status.RUNNING:
            self.lease_until = None


class World:
    """Two tenants with two queues each, their jobs, and the books."""

    def __init__(self, tenants: Iterable[str], queues: Sequence[str]) -> None:
        self.now = 0
        self.tenants = {name: Tenant() for name in tenants}
        self.lanes = [(name, queue) for name in self.tenants for queue in queues]
        self.paused: set[Lane] = set()
        self.limits: dict[Holder, Limit] = defaultdict(Limit)
        self.jobs: dict[uuid.UUID, Job] = {}
        self.accepted: Counter[str] = Counter()
        self.deleted: Counter[str] = Counter()
        self.ended: Counter[tuple[str, Status]] = Counter()
        self._keys: dict[tuple[str, str], tuple[uuid.UUID, str]] = {}

    # Submitters.

    def refusal(self, name: str, batch: Sequence[NewJob]) -> type[Exception] | None:
        """Why the batch is refused as a whole, if it is."""
        tenant = self.tenants[name]
        if not tenant.is_active:
            return TenantInactive
        if all(new.idempotency_key is None for new in batch) and (
            too_fast := self._too_fast(tenant, len(batch))
        ):
            return too_fast
        if self._has_mismatch(name, batch):
            return IdempotencyMismatch
        created = self.count_new(name, batch)
        if created and (too_fast := self._too_fast(tenant, created)):
            return too_fast
        waiting = sum(j.tenant == name and j.status in WAITING for j in self.jobs.values())
        is_full = tenant.max_pending is not None and waiting + created > tenant.max_pending
        return QueueFull if created and is_full else None

    def _too_fast(self, tenant: Tenant, count: int) -> type[Exception] | None:
        if tenant.rate is None:
            return None
        if count > tenant.rate:
            return InvalidInput
        window = range(self.now - RATE_WINDOW, self.now + SET_BACK + 1)
        spent = sum(count for at, count in tenant.submissions if at in window)
        return TooManyRequests if spent + count > tenant.rate else None

    def _has_mismatch(self, name: str, batch: Sequence[NewJob]) -> bool:
        digests = {key: digest for (of, key), (_, digest) in self._keys.items() if of == name}
        return any(
            digests.setdefault(new.idempotency_key, new.request_hash) != new.request_hash
            for new in batch
            if new.idempotency_key is not None
        )

    def count_new(self, name: str, batch: Sequence[NewJob]) -> int:
        """How many jobs the batch makes: one for each key that is not in use."""
        keys = {new.idempotency_key for new in batch if new.idempotency_key is not None}
        fresh = [key for key in keys if (name, key) not in self._keys]
        return len(fresh) + sum(new.idempotency_key is None for new in batch)

    def accept(self, name: str, batch: Sequence[NewJob], ids: Sequence[uuid.UUID]) -> None:
        """The batch was accepted under these ids: equal for equal keys, new otherwise."""
        self._spend(self.tenants[name], self.count_new(name, batch))
        for new, job_id in zip(batch, ids, strict=True):
            if new.idempotency_key is not None:
                digest = new.request_hash
                earlier, _ = self._keys.setdefault((name, new.idempotency_key), (job_id, digest))
                assert earlier == job_id
            if job_id not in self.jobs:
                self._add(name, new, job_id)

    def _spend(self, tenant: Tenant, count: int) -> None:
        if tenant.rate is not None and count:
            kept = [(at, n) for at, n in tenant.submissions if at >= self.now - RATE_WINDOW]
            tenant.submissions = [*kept, (self.now, count)]

    def _add(self, name: str, new: NewJob, job_id: uuid.UUID) -> None:
        delay = int(new.delay_seconds or 0)
        status = Status.SCHEDULED if delay else Status.PENDING
        self.jobs[job_id] = Job(
            name, new.queue, new.task, new.worker_tags, new.priority, new.max_retries,
            new.idempotency_key, status, self.now + delay,
        )  # fmt: skip
        self.accepted[name] += 1

    # Workers.

    def ready(self, lane: Lane, unknown: Collection[str], tags: Collection[str]) -> list[uuid.UUID]:
        """The jobs of the lane that a worker may start that knows all but these tasks."""
        return [
            job_id
            for job_id, job in self.jobs.items()
            if job.lane == lane
            and job.status is Status.PENDING
            and job.task not in unknown
            and set(job.tags) <= set(tags)
        ]

    def left(self, *whose: Holder) -> int | None:
        """The places that these limits leave; None where there is no limit."""
        found = [self.limits[one].places(self._running(one), self.now) for one in whose]
        return min((places for places in found if places is not None), default=None)

    def _running(self, holder: Holder) -> int:
        running = [job for job in self.jobs.values() if job.status is Status.RUNNING]
        return sum(holder in holders(job.lane, job.task) for job in running)

    def is_open(self, lane: Lane) -> bool:
        """Whether nobody has closed it."""
        return lane not in self.paused and self.tenants[lane[0]].is_active

    def room(self, lane: Lane, task: str) -> float:
        """How many jobs of the task may start in the lane now."""
        left = self.left(*holders(lane, task)) if self.is_open(lane) else 0
        return float("inf") if left is None else left

    def opens_in(self, lane: Lane, task: str) -> int:
        """Seconds until all paces allow the next start."""
        return max(self.limits[one].opens_in(self.now) for one in holders(lane, task))

    def is_simple(self, lane: Lane, task: str) -> bool:
        """Whether no other limits are there than those of running jobs of its lane and tenant."""
        *of_lane, own, shared = (self.limits[one] for one in holders(lane, task))
        return own.is_none and shared.is_none and not any(limit.is_paced for limit in of_lane)

    def grant(self, job_id: uuid.UUID, worker: str, fence: int) -> None:
        """A worker has claimed the job."""
        job = self.jobs[job_id]
        assert self.room(job.lane, job.task) > 0, "started beyond a limit, a pace or a pause"
        for holder in holders(job.lane, job.task):
            self.limits[holder].pay(self.now)
        assert job.status is Status.PENDING
        assert fence > job.fence, "fences only rise"
        job.move(Status.RUNNING)
        job.fence, job.worker, job.attempt = fence, worker, job.attempt + 1
        job.lease_until = self.now + LEASE
        assert job.attempt <= 1 + job.max_retries

    def holds(self, grant: Grant) -> bool:
        """Whether the lease is the current one."""
        job = self.jobs.get(grant[0])
        return job is not None and (job.status, job.fence) == (Status.RUNNING, grant[1])

    def extend(self, job_id: uuid.UUID) -> bool:
        """A heartbeat of the holder; answers whether the job is to be cancelled."""
        self.jobs[job_id].lease_until = self.now + LEASE
        return self.jobs[job_id].to_cancel

    def end(self, job_id: uuid.UUID, status: Status, backoff: int = BACKOFF) -> None:
        """The attempt has ended so."""
        job = self.jobs[job_id]
        job.failures += status in {Status.FAILED, Status.DLQ}
        if status is Status.FAILED:
            job.run_at = self.now + backoff
        if status is Status.FAILED and job.to_cancel:
            status = Status.CANCELLED
        job.move(status, self.now)
        self.ended[job.tenant, status] += 1

    def lose(self, job_id: uuid.UUID) -> None:
        """The worker of the job has died or gone silent."""
        job = self.jobs[job_id]
        job.lost += 1
        is_last = job.lost >= MAX_LOST or job.attempt > job.max_retries
        self.end(job_id, Status.DLQ if is_last else Status.FAILED)

    def release(self, job_id: uuid.UUID) -> None:
        """The worker has given the job back."""
        job = self.jobs[job_id]
        job.attempt -= 1
        job.worker = ""
        job.move(Status.CANCELLED if job.to_cancel else Status.PENDING, self.now)
        self.ended[job.tenant, Status.CANCELLED] += job.to_cancel

    def held_by(self, worker: str) -> list[Grant]:
        """The leases of the worker."""
        return [
            (job_id, job.fence)
            for job_id, job in self.jobs.items()
            if (job.status, job.worker) == (Status.RUNNING, worker)
        ]

    # Time.

    def silent(self) -> list[uuid.UUID]:
        """The jobs whose leases have run out."""
        return [
            job_id
            for job_id, job in self.jobs.items()
            if job.lease_until is not None and job.lease_until < self.now
        ]

    def promote(self) -> int:
        """What is due becomes ready; answers how many."""
        due = [
            job
            for job in self.jobs.values()
            if job.status in {Status.SCHEDULED, Status.FAILED} and job.run_at <= self.now
        ]
        for job in due:
            job.move(Status.PENDING)
        return len(due)

    # People.

    def in_status(self, ids: Iterable[uuid.UUID], *statuses: Status) -> set[uuid.UUID]:
        """Those of the jobs that exist and have one of the statuses."""
        return {i for i in ids if i in self.jobs and self.jobs[i].status in statuses}

    def cancel(self, job_id: uuid.UUID) -> None:
        """Someone cancels a job that waits or runs."""
        job = self.jobs[job_id]
        job.to_cancel = True
        if job.status is not Status.RUNNING:
            job.move(Status.CANCELLED, self.now)
            self.ended[job.tenant, Status.CANCELLED] += 1

    def retry(self, job_id: uuid.UUID) -> None:
        """Someone does not wait for the backoff."""
        self.jobs[job_id].move(Status.PENDING)

    def redrive(self, job_id: uuid.UUID) -> None:
        """A dead letter begins anew, but its fence and its failures stay."""
        job = self.jobs[job_id]
        assert job.status is Status.DLQ
        job.status, job.attempt, job.lost, job.worker = Status.PENDING, 0, 0, ""
        job.to_cancel = False

    def discard(self, job_id: uuid.UUID) -> None:
        """A dead letter is deleted."""
        assert self.jobs[job_id].status is Status.DLQ
        self.delete(job_id)

    def delete(self, job_id: uuid.UUID) -> None:
        """A job that has ended is gone, and its key is free again."""
        job = self.jobs.pop(job_id)
        assert job.status in TERMINAL
        self.deleted[job.tenant] += 1
        if job.key is not None:
            del self._keys[job.tenant, job.key]

    def old(self, tenant: str) -> set[uuid.UUID]:
        """The jobs of the tenant that ended long ago."""
        kept = {Status.DONE: KEPT, Status.CANCELLED: KEPT, Status.DLQ: DEAD_KEPT}
        return {
            job_id
            for job_id, job in self.jobs.items()
            if job.tenant == tenant
            and job.status in kept
            and job.ended_at < self.now - kept[job.status]
        }
