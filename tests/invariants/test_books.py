"""The books: attempts are bounded and recorded, jobs are conserved, counters equal recounts."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from django.db.models import F, Sum

from jobs import services, store
from jobs.conf import conf
from jobs.models import Attempt, Job, JobTag, LaneMinute, SubmissionSecond, Tenant
from jobs.statuses import AttemptOutcome, Status
from jobs.submission import NewJob
from tests.invariants.deadline import Deadline
from tests.store.steps import (
    claim,
    expire,
    finish,
    lane_of,
    make_due,
    no_delay,
    outcome,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
ENDINGS = [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED]


def fail(job: store.ClaimedJob) -> AttemptOutcome:
    is_last = job.attempt > job.max_retries
    finish(job, Status.DLQ if is_last else Status.FAILED, retry_in=0)
    return AttemptOutcome.FAILED


def vanish(job: store.ClaimedJob) -> AttemptOutcome:
    expire([job.id])
    assert store.reap("reaper", no_delay) == [job.id]
    return AttemptOutcome.LOST


def die(job: store.ClaimedJob) -> AttemptOutcome:
    store.lose_worker("worker-1", [store.Lease(job.id, job.fence)], no_delay)
    return AttemptOutcome.LOST


@pytest.mark.parametrize("max_retries", [0, 1, 2, 5, 20])
@pytest.mark.parametrize("fates", [[fail], [vanish], [die], [fail, vanish, die]])
def test_S10_attempts_are_bounded_for_crashes_too(
    alice: Tenant, max_retries: int, fates: list[Callable[[store.ClaimedJob], AttemptOutcome]]
) -> None:
    chance, lane = random.Random(max_retries), lane_of(alice)
    (job_id,) = submit(alice, max_retries=max_retries)
    suffered: list[AttemptOutcome] = []
    while claimed := claim(lane):
        assert len(suffered) <= max_retries, "one attempt more than promised"
        suffered.append(chance.choice(fates)(claimed[0]))
        make_due([job_id])
        store.promote()
    job = Job.objects.get()
    assert job.status == Status.DLQ
    assert job.attempt == len(suffered) <= 1 + max_retries
    assert job.lost_count == suffered.count(AttemptOutcome.LOST) <= conf().max_lost
    assert [attempt.outcome for attempt in job.attempts.all()] == suffered
    assert [attempt.number for attempt in job.attempts.all()] == [*range(1, len(suffered) + 1)]
    is_poison = job.lost_count == conf().max_lost
    assert job.reason == ("poison" if is_poison else "retries_exhausted")


def test_S10_what_had_not_started_is_given_back_unspent(alice: Tenant) -> None:
    submit(alice, 10)
    started, *mates = claim(lane_of(alice))
    lost, released = store.lose_worker(
        "worker-1", [store.Lease(started.id, started.fence)], no_delay
    )
    assert (lost, set(released)) == ([started.id], {job.id for job in mates})
    assert set(Job.objects.values_list("lost_count", "attempt")) == {(1, 1), (0, 0)}
    assert {job.attempt for job in claim(lane_of(alice))} == {1}


class Chaos:
    """Everybody at once, for a while, keeping books of what was answered."""

    def __init__(self, tenants: list[Tenant]) -> None:
        self.tenants = tenants
        self.lanes = [lane_of(tenant, queue) for tenant in tenants for queue in ("a", "b")]
        self.books: Counter[tuple[str, str]] = Counter()
        self.ids: list[uuid.UUID] = []
        self._lock = threading.Lock()
        self._writers = 2

    def enter(self, tenant: str, what: str, count: int) -> None:
        with self._lock:
            self.books[tenant, what] += count

    def submit(self, seed: int) -> None:
        chance = random.Random(seed)
        try:
            for n in range(40):
                lane = chance.choice(self.lanes)
                key = f"{seed}-{n // 2}"  # each twice
                new = NewJob(task="echo", queue=lane.queue, idempotency_key=key, tags=("t", "u"))
                later = NewJob(task="echo", queue=lane.queue, delay_seconds=0.05, max_retries=1)
                answers = services.submit_many(lane.tenant, [new, later])
                created = [one.job_id for one in answers if one.created]
                self.enter(lane.tenant.slug, "accepted", len(created))
                self.ids += created
        finally:
            self._writers -= 1

    def work(self, worker: str) -> None:
        chance = random.Random(worker)
        deadline = Deadline()
        while deadline.holds() and (
            self._writers or Job.objects.filter(status=Status.PENDING).exists()
        ):
            jobs = claim(*self.lanes, quota=2, worker=worker)
            fates = {job.id: chance.choice([*ENDINGS, "vanish", "give back"]) for job in jobs}
            ends = [
                outcome(job, fates[job.id], retry_in=0) for job in jobs if fates[job.id] in ENDINGS
            ]
            store.finish(worker, ends)
            back = [job for job in jobs if fates[job.id] == "give back"]
            store.release([store.Lease(job.id, job.fence) for job in back])
            expire([job.id for job in jobs if fates[job.id] == "vanish"])
            store.reap("reaper", no_delay)

    def meddle(self, seed: int) -> None:
        chance = random.Random(seed)
        deadline = Deadline()
        while deadline.holds() and self._writers:
            some = chance.sample(self.ids, min(4, len(self.ids)))
            chance.choice([store.cancel, store.retry, store.redrive])(some)
            self.discard(some)
            store.reap("reaper", no_delay)
            store.promote()

    def discard(self, ids: list[uuid.UUID]) -> None:
        owners = dict(Job.objects.filter(pk__in=ids).values_list("pk", "tenant__slug"))
        for job_id in store.discard(ids):
            self.enter(owners[job_id], "discarded", 1)

    def run(self) -> None:
        together([
            *(partial(self.submit, seed) for seed in range(self._writers)),
            *(partial(self.work, f"worker-{n}") for n in range(3)),
            *(partial(self.meddle, seed) for seed in range(2)),
        ])  # fmt: skip
        self.discard(self.ids[::2])


@pytest.fixture
def chaos(make_tenant: Callable[..., Tenant]) -> Chaos:
    """It is over: two tenants, one of them with limits."""
    limits = {"max_running": 5, "submissions_per_minute": 10_000, "max_pending": 10_000}
    chaos = Chaos([make_tenant("limited", **limits), make_tenant("free")])
    chaos.run()
    return chaos


def test_S18_accepted_is_what_there_is_and_what_was_discarded(chaos: Chaos) -> None:
    for tenant in chaos.tenants:
        kept = Job.objects.filter(tenant=tenant)
        per_status = Counter(kept.values_list("status", flat=True))
        assert per_status.keys() <= {str(status) for status in Status}
        purged = LaneMinute.objects.filter(tenant_id=tenant.pk).aggregate(n=Sum("purged"))["n"]
        assert purged == chaos.books[tenant.slug, "discarded"]
        assert sum(per_status.values()) + purged == chaos.books[tenant.slug, "accepted"] > 0
    assert chaos.books["free", "discarded"] + chaos.books["limited", "discarded"] > 0
    ids = Job.objects.values("pk")
    assert not Attempt.objects.exclude(job__in=ids).exists(), "nothing is left of the discarded"
    assert not JobTag.objects.exclude(job__in=ids).exists()
    running = Job.objects.filter(status=Status.RUNNING)
    assert not running.filter(lease_expires_at=None).exists()
    assert not Job.objects.exclude(status=Status.RUNNING).exclude(lease_expires_at=None).exists()


def test_S19_counters_equal_recounts(chaos: Chaos) -> None:
    limited, free = chaos.tenants
    spent = SubmissionSecond.objects.values_list("tenant_id").annotate(n=Sum("submitted"))
    assert dict(spent) == {limited.pk: chaos.books["limited", "accepted"]}
    assert store.count_waiting(limited.pk, at_most=10_000) == (
        Job.objects.filter(tenant=limited, status__in=["PENDING", "SCHEDULED", "FAILED"]).count()
    )
    # Discarded and redriven jobs were counted when they died.
    for tenant in (limited, free):
        now = Counter(Job.objects.filter(tenant=tenant).values_list("status", flat=True))
        ended = LaneMinute.objects.filter(tenant_id=tenant.pk).aggregate(
            done=Sum("done"), dead=Sum("dead"), cancelled=Sum("cancelled")
        )
        assert ended["done"] == now["DONE"]
        assert ended["cancelled"] == now["CANCELLED"]
        assert ended["dead"] >= now["DLQ"] + chaos.books[tenant.slug, "discarded"]
        failures = Attempt.objects.filter(job__tenant=tenant).count()
        assert failures <= failures_of(tenant)


def failures_of(tenant: Tenant) -> int:
    """Attempts that the minutes count as failed or dead, or as cancelled after a failure."""
    of_tenant = LaneMinute.objects.filter(tenant_id=tenant.pk)
    counted = of_tenant.aggregate(n=Sum("failed") + Sum("dead"))["n"]
    cancelled = Attempt.objects.filter(
        job__tenant=tenant, job__status=Status.CANCELLED, number=F("job__attempt")
    )
    return int(counted) + cancelled.count()


def test_S19_the_room_that_is_seen_is_what_the_running_jobs_leave(chaos: Chaos) -> None:
    limited, free = chaos.tenants
    services.change_limits(free, actor="command:test", max_running=100)
    services.change_limits(limited, actor="command:test", max_running=100)
    for lane in chaos.lanes:
        submit(lane.tenant, 3, queue=lane.queue)
        services.change_limits(lane, actor="command:test", max_running=50)
    claim(*chaos.lanes, quota=1)
    seen = {lane.lane_id: (lane.room, lane.tenant_room) for lane in store.ready_lanes()}
    running = Job.objects.filter(status=Status.RUNNING)
    assert seen == {
        lane.pk: (50 - running.filter(lane=lane).count(),
                  100 - running.filter(tenant=lane.tenant).count())
        for lane in chaos.lanes
    }  # fmt: skip
