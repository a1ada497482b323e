"""Leases for workers that are not ours: a tenant's own, in any language, over REST.

They get what a worker process of ours would get, by the same claim: within the same limits, by the
same priorities, with the same fences. `leases_reported` is about what they say afterwards.
"""

import random
import threading
import time
import uuid
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Greatest, Now

from jobs import store, wakeup
from jobs.conf import conf
from jobs.encryption import BROKEN, needs_seal, why_unreadable
from jobs.errors import InvalidInput, SealBroken, TenantInactive
from jobs.job_rows import find_jobs
from jobs.models import Job, Lane, Tenant, Worker
from jobs.registry import is_for_tenants
from jobs.shares import FairShares
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store import ClaimedJob, Lease, Outcome, ReadyLane, Share
from jobs.store.lines import Line
from jobs.store.look import is_simple
from jobs.store.offers import Offer, offers

MAX_PAYLOADS_BYTES = 10_000_000
"""So much is handed out at once; a single payload is never more than that."""
TRIES = 3
"""Somebody else's claim, which is over in milliseconds, can hold what was seen."""
MAX_REMEMBERED = 10_000
_ID_PREFIX = "rest/"
"""Ids of our own workers begin with a host's name, which has no slash."""
MAX_NAME = 50
COUNTED_EVERY_SECONDS = 1.0
ALL_PAUSED = "queue_paused"
MAX_WORKERS = 1_000
"""So many names a tenant's workers may have within `worker_retention_seconds`."""
waits = store.Waits()
"""The waits of jobs that workers over REST have ended, written with a call of theirs."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a worker of a tenant asks for. No queues, no tasks: all those that it may have.

    `worker` is its name in `Worker` and on the jobs that it gets.
    """

    tenant: Tenant
    worker: str
    queues: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    max_jobs: int = 1
    lease_seconds: float = 30

    def wants(self, task: str) -> bool:
        """Whether it runs the task. Those that only Python may call are never a tenant's."""
        return is_for_tenants(task) and (not self.tasks or task in self.tasks)

    def suits(self, line: Line) -> bool:
        """Whether it can run the jobs of the line."""
        is_served = not self.queues or line.queue in self.queues
        is_own = line.tenant_id == self.tenant.pk
        return is_own and is_served and self.wants(line.task) and line.suits((), self.tags)


def worker_id(key_prefix: str, name: str) -> str:
    """What `Worker` and jobs call a worker over REST: two keys never share one."""
    return f"{_ID_PREFIX}{key_prefix}/{name}"


def is_remote_worker(worker: str) -> bool:
    """Whether the worker of this id is a tenant's own."""
    return worker.startswith(_ID_PREFIX)


class _Unwanted(set[str]):
    """Every task that a worker does not want, also one that was not there a moment ago."""

    def __init__(self, wish: Wish) -> None:
        super().__init__()
        self._wish = wish

    def __contains__(self, task: object) -> bool:
        return not (isinstance(task, str) and self._wish.wants(task))


def lease(wish: Wish) -> list[Job]:
    """Grant the worker leases on at most `max_jobs` jobs: the best ones, as a claim orders them.

    Raises `TenantInactive`, and `InvalidInput` for a tenant with too many workers.
    """
    if not wish.tenant.is_active:
        raise TenantInactive(f"The tenant {wish.tenant.slug!r} is switched off.")
    waits.write_if_due()
    if wish.worker not in _noted:
        _introduce(wish)
    claimed = _claim(wish)
    try:
        return _handed_out(wish, claimed)
    except Exception:
        give_back(claimed)  # nobody would know that it has them
        raise


def _handed_out(wish: Wish, claimed: Sequence[ClaimedJob]) -> list[Job]:
    leased = _within_bytes(claimed)
    _note(wish, granted=len(leased))
    rows = find_jobs(wish.tenant.pk, [job.id for job in leased])
    for job in leased:
        rows[job.id].fence = job.fence  # whatever has become of the job since
        if job.sealed_with and needs_seal(job.sealed_with, job.payload):
            rows[job.id].payload = BROKEN
    return _readable(wish.worker, [rows[job.id] for job in leased])


def _readable(worker: str, jobs: Sequence[Job]) -> list[Job]:
    """Those of the jobs whose payload is there to be handed out.

    Where a key has just gone, a job goes back unspent; one that was tampered with is dead.
    """
    reasons = {job.pk: code for job in jobs if (code := why_unreadable(job, ("payload",)))}
    if not reasons:
        return list(jobs)
    broken = [job for job in jobs if reasons.get(job.pk) == SealBroken.code]
    record(worker, [_tampered_with(job) for job in broken])
    if missing := [job for job in jobs if job.pk in reasons and job not in broken]:
        give_back(missing)
    return [job for job in jobs if job.pk not in reasons]


def _tampered_with(job: Job) -> Outcome:
    return outcome_of(
        job,
        Status.DLQ,
        attempt_outcome=AttemptOutcome.FAILED,
        error_type=SealBroken.code,
        error_message="The stored payload was changed, or is another job's.",
        reason=Reason.NOT_RETRYABLE,
    )


def outcome_of(job: Job, status: Status, **rest: Any) -> Outcome:
    """What became of a lease on the job, as it was when it was read; `rest` is of `Outcome`."""
    return Outcome(
        job_id=job.pk,
        fence=job.fence,
        lane_id=job.lane_id,
        tenant_id=job.tenant_id,
        status=status,
        waited_seconds=_seconds(job.run_at, job.started_at),
        ran_seconds=ran_seconds(job),
        **rest,
    )


def ran_seconds(job: Job) -> float:
    """How long the lease on the job was when it was looked at."""
    return _seconds(job.started_at, getattr(job, "now", None))


def _seconds(since: datetime | None, until: datetime | None) -> float:
    """How long it was by the database's clock; 0 where that is not known."""
    return max(0.0, (until - since).total_seconds()) if since and until else 0.0


def record(worker: str, outcomes: Sequence[Outcome]) -> Collection[uuid.UUID]:
    """Record outcomes of leases, and count their waits; answers the ids of those that were."""
    if not outcomes:
        return ()
    recorded = store.finish(worker, outcomes)
    waits.note(outcome for outcome in outcomes if outcome.job_id in recorded)
    waits.write_if_due()
    return recorded


def _claim(wish: Wish) -> list[ClaimedJob]:
    for attempt in range(TRIES):
        if attempt:
            time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  (jitter)
        seen = offers([wish.tenant.pk], most=wish.max_jobs)
        suitable = [offer for offer in seen if wish.suits(offer.line)]
        claimed = _fairness.claim(wish, suitable) if suitable else []
        if claimed or not suitable:
            return claimed
    return []


def _within_bytes(claimed: Sequence[ClaimedJob]) -> list[ClaimedJob]:
    """The first of them whose payloads can be answered together; the others go back unspent."""
    total = 0
    for index, job in enumerate(claimed):
        total += len(job.payload)
        if index and total > MAX_PAYLOADS_BYTES:
            give_back(claimed[index:])
            return list(claimed[:index])
    return list(claimed)


def why_none(wish: Wish) -> str | None:
    """Why a worker gets nothing, if all that it may take from is paused: the code of `why`.

    A queue that there is not yet is open.
    """
    named = Q(queue__in=wish.queues) if wish.queues else Q()
    lanes = Lane.objects.filter(named, tenant=wish.tenant)
    found = lanes.aggregate(all=Count("pk"), paused=Count("pk", filter=Q(is_paused=True)))
    are_paused = found["paused"] == max(found["all"], len(wish.queues), 1)
    return ALL_PAUSED if are_paused else None


def give_back(jobs: Sequence[ClaimedJob | Job]) -> None:
    """Release what a worker was granted and never got."""
    with transaction.atomic():
        store.release([Lease(job.id, job.fence) for job in jobs])
        transaction.on_commit(wakeup.signal)


class _Fairness:
    """Which lanes of a tenant come next: kept by each process for what it hands out itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tenants: OrderedDict[int, tuple[threading.Lock, FairShares]] = OrderedDict()

    def claim(self, wish: Wish, seen: Sequence[Offer]) -> list[ClaimedJob]:
        """Claim for the wish what its tenant's lanes are to get by their weights."""
        lock, shares = self._of(wish.tenant)
        with lock:
            divided = _as_limited(shares.divide(_lanes(seen), wish.max_jobs), seen)
            claimed: list[ClaimedJob] = []
            try:
                claimed = store.claim(
                    wish.worker,
                    divided,
                    lease_seconds=wish.lease_seconds,
                    unknown=_Unwanted(wish),
                    tags=wish.tags,
                )
            finally:
                shares.charge(Counter(job.lane_id for job in claimed))
        return claimed

    def _of(self, tenant: Tenant) -> tuple[threading.Lock, FairShares]:
        with self._lock:
            found = self._tenants.setdefault(tenant.pk, (threading.Lock(), FairShares()))
            self._tenants.move_to_end(tenant.pk)
            if len(self._tenants) > MAX_REMEMBERED:
                self._tenants.popitem(last=False)
            return found


_fairness = _Fairness()


def _lanes(seen: Sequence[Offer]) -> list[ReadyLane]:
    of_lane: dict[int, list[Offer]] = defaultdict(list)
    for offer in seen:
        of_lane[offer.line.lane_id].append(offer)
    return [_lane(own) for own in of_lane.values()]


def _lane(own: Sequence[Offer]) -> ReadyLane:
    line = own[0].line
    return ReadyLane(
        line.lane_id,
        line.tenant_id,
        line.weight,
        line.tenant_weight,
        room=sum(offer.jobs for offer in own),
        tenant_room=None,
        only_line=line.id if len(own) == 1 and is_simple(line) else None,
    )


def _as_limited(shares: Sequence[Share], seen: Sequence[Offer]) -> list[Share]:
    """The room of these lanes is that of their jobs: only a limit makes a claim lock a tenant."""
    limited = {offer.line.lane_id for offer in seen if offer.line.limits}
    return [x if x.lane_id in limited else x._replace(limited_tenant=None) for x in shares]


_noted: dict[str, tuple[float, dict[str, object]]] = {}
"""When each worker's row was written by this process, and what with."""


def _note(wish: Wish, *, granted: int) -> None:
    """Let the dashboard and `why` know what the worker serves, and how busy it is.

    One that gets as much as it had a moment ago has finished that: its jobs are not counted for it.
    """
    if _is_noted(wish, granted):
        return
    held = Job.objects.filter(tenant_id=wish.tenant.pk, status=Status.RUNNING, worker=wish.worker)
    running = held.count()
    values = _served(wish) | {"slots": running - granted + wish.max_jobs, "running": running}
    at, before = _noted.get(wish.worker, (0.0, {}))
    if before == values and time.monotonic() < at + conf().heartbeat_seconds:
        return
    if len(_noted) >= MAX_REMEMBERED:
        _noted.clear()
    if Worker.objects.filter(pk=wish.worker).update(seen_at=Now(), **values):
        _noted[wish.worker] = time.monotonic(), values
    else:
        _noted.pop(wish.worker, None)  # its row went; the next poll makes another


def _is_noted(wish: Wish, granted: int) -> bool:
    at, before = _noted.get(wish.worker, (0.0, {}))
    expected = _served(wish) | {"slots": wish.max_jobs, "running": granted}
    return before == expected and time.monotonic() < at + COUNTED_EVERY_SECONDS


def _served(wish: Wish) -> dict[str, object]:
    return {
        "queues": sorted(wish.queues),
        "tasks": sorted(wish.tasks),
        "tags": sorted(wish.tags),
    }


def _introduce(wish: Wish) -> None:
    """See to it that the worker has a row; those that were not heard of for long go.

    Raises `InvalidInput` if its tenant has too many.
    """
    of_tenant = Worker.objects.filter(tenant=wish.tenant)
    if of_tenant.filter(pk=wish.worker).exists():
        return
    long_ago = Now() - timedelta(seconds=conf().worker_retention_seconds)
    of_tenant.filter(seen_at__lt=long_ago).delete()
    if of_tenant.count() >= MAX_WORKERS:
        raise InvalidInput(
            f"The tenant {wish.tenant.slug!r} has {MAX_WORKERS} workers; "
            "give each a name of its own that it keeps.",
            code="too_many_workers",
            pointer="worker",
        )
    first = {
        **_served(wish),
        "tenant": wish.tenant,
        "host": f"REST: {wish.tenant.slug}/{wish.worker.rpartition('/')[2]}",
        "pid": 0,
        "slots": wish.max_jobs,
        "started_at": Now(),
        "seen_at": Now(),
    }
    Worker.objects.get_or_create(id=wish.worker, defaults=first)


def see_again(workers: Collection[str], *, are_busy: bool = False) -> None:
    """Note that these workers have just been heard of: each three times in a lease at most.

    What the busy ones run is counted.
    """
    now = time.monotonic()
    due = [x for x in workers if now >= _noted.get(x, (0.0, {}))[0] + conf().lease_seconds / 3]
    if due:
        counts = _busy() if are_busy else {}
        Worker.objects.filter(pk__in=due).update(seen_at=Now(), **counts)
        _noted.update({worker: (now, _noted.get(worker, (0.0, {}))[1]) for worker in due})


def _busy() -> dict[str, Any]:
    """What a worker runs, as a change of its row."""
    held = Job.objects.filter(
        tenant_id=OuterRef("tenant_id"), status=Status.RUNNING, worker=OuterRef("pk")
    )
    count = held.order_by().values("worker").annotate(jobs=Count("*")).values("jobs")
    running = Coalesce(Subquery(count), 0)
    return {"running": running, "slots": Greatest("slots", running)}
