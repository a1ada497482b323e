"""Many at the same moment, each in a thread with a connection of its own."""

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models import Sum

from jobs import services, store
from jobs.errors import QueueFull, StatusConflict, TooManyRequests
from jobs.models import Attempt, Job, Lane, LaneMinute, SubmissionSecond, Tenant
from jobs.statuses import Status
from jobs.store import Lease
from jobs.store.dialect import is_postgresql
from jobs.submission import NewJob, Submitted
from tests.harness import wait_until
from tests.store.steps import (
    claim,
    claim_one,
    database_time,
    expire,
    finish,
    lane_of,
    no_delay,
    outcome,
    status_of,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
THREADS = 8


def work_off(worker: str) -> list[Lease]:
    """Claim and finish until nothing is left, giving back every fourth job; answers the grants."""
    grants: list[Lease] = []
    while Job.objects.filter(status__in=[Status.PENDING, Status.RUNNING]).exists():
        shares = [store.Share(lane.lane_id, 3) for lane in store.ready_lanes()]
        jobs = store.claim(worker, shares, lease_seconds=30)
        grants += [Lease(job.id, job.fence) for job in jobs]
        back = [Lease(job.id, job.fence) for job in jobs[3::4]]
        store.release(back)
        ended = [job for job in jobs if Lease(job.id, job.fence) not in back]
        store.finish(worker, [outcome(job, Status.DONE) for job in ended])
    return grants


def most_at_once(intervals: Sequence[tuple[object, object]]) -> int:
    """How many of the intervals overlap at the worst moment."""
    starts = [(start, 1) for start, _ in intervals]
    ends = [(end, -1) for _, end in intervals]
    running = itertools.accumulate(change for _, change in sorted(starts + ends))
    return max(running)


class TestClaimers:
    @pytest.fixture
    def lanes(self, alice: Tenant, make_tenant: Callable[..., Tenant]) -> list[Lane]:
        """Two lanes limited to 5 each, and two of a tenant limited to 5 in all; 40 jobs in each."""
        limited = make_tenant("limited", max_running=5)
        lanes = [lane_of(tenant, queue) for tenant in (alice, limited) for queue in ("a", "b")]
        for lane in lanes[:2]:
            services.change_limits(lane, actor="command:test", max_running=5)
        for lane in lanes:
            submit(lane.tenant, 40, queue=lane.queue)
        return lanes

    def test_never_grant_a_job_twice_nor_more_than_the_limits(self, lanes: list[Lane]) -> None:
        seen = []

        def sample() -> list[Lease]:
            while Job.objects.exclude(status=Status.DONE).exists():
                running = Job.objects.filter(status=Status.RUNNING)
                seen.append(list(running.values_list("tenant_id", "lane_id")))
            return []

        workers = [partial(work_off, f"worker-{n}") for n in range(THREADS)]
        grants = list(itertools.chain(*together([*workers, sample])))
        assert len(grants) == len(set(grants)) >= 160
        for lane in lanes[:2]:
            assert self.most_running(lane_id=lane.pk) <= 5
            assert all([lane_id for _, lane_id in one].count(lane.pk) <= 5 for one in seen)
        limited = lanes[2].tenant_id
        assert self.most_running(tenant_id=limited) <= 5
        assert all([tenant_id for tenant_id, _ in one].count(limited) <= 5 for one in seen)

    def most_running(self, **which: int) -> int:
        times = Job.objects.filter(**which).values_list("started_at", "finished_at")
        return most_at_once(list(times))

    def test_open_transaction_that_made_a_lane_does_not_stop_its_tenant(
        self, make_tenant: Callable[..., Tenant]
    ) -> None:
        if not is_postgresql():
            pytest.skip("SQLite has one writer at a time")
        limited = make_tenant("limited", max_running=5)
        submit(limited, 3)
        lane = lane_of(limited)
        with transaction.atomic():
            submit(limited, queue="new")
            assert [len(jobs) for jobs in together([lambda: claim(lane)])] == [3]

    def test_job_that_became_ready_while_the_claim_was_on_its_way_did_not_start_before(
        self, alice: Tenant
    ) -> None:
        if not is_postgresql():
            pytest.skip("SQLite has one writer at a time")
        lane = lane_of(alice)
        claim_one(alice)  # so that there is a line to claim from

        def hold_up_the_claim() -> uuid.UUID:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE jobs_job IN ACCESS EXCLUSIVE MODE")
                locked.set()
                wait_until(a_claim_waits)
                return submit(alice)[0]

        def a_claim_waits() -> bool:
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return cursor.fetchone() == (1,)

        def claim_when_locked() -> uuid.UUID:
            assert locked.wait(10)
            (claimed,) = claim(lane)
            assert claimed.waited_seconds >= 0
            return claimed.id

        locked = threading.Event()
        submitted, claimed = together([hold_up_the_claim, claim_when_locked])
        job = Job.objects.get(pk=submitted)
        assert submitted == claimed
        assert job.run_at <= job.started_at


class TestChangesOfSettings:
    """When the answer to one was given, no claim that knew the old settings starts a job."""

    CHANGES: dict[str, tuple[Callable[[Tenant], object], Callable[[Tenant], object]]] = {
        "pause": (
            lambda t: services.set_queue_paused(t, "default", paused=True, actor="command:test"),
            lambda t: services.set_queue_paused(t, "default", paused=False, actor="command:test"),
        ),
        "switch off": (
            lambda t: services.change_limits(t, actor="command:test", is_active=False),
            lambda t: services.change_limits(t, actor="command:test", is_active=True),
        ),
        "limit of nothing": (
            lambda t: services.change_limits(t, actor="command:test", max_running=0),
            lambda t: services.change_limits(t, actor="command:test", max_running=None),
        ),
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_is_a_barrier(self, alice: Tenant, change: str) -> None:
        close, reopen = self.CHANGES[change]
        submit(alice, 8_000)
        lane, over = lane_of(alice), threading.Event()
        tries: Counter[str] = Counter()

        def claim_on(worker: str) -> None:
            while not over.wait(0.002):
                claim(lane, quota=1, worker=worker)
                tries[worker] += 1

        def wait_for_tries(count: int) -> None:
            goal = {worker: tries[worker] + count for worker in workers}
            wait_until(lambda: all(tries[worker] >= goal[worker] for worker in workers))

        def open_and_close() -> None:
            try:
                for _ in range(4):
                    wait_for_tries(2)
                    close(alice)
                    answered = database_time()
                    wait_for_tries(3)
                    assert not Job.objects.filter(started_at__gt=answered).exists()
                    reopen(alice)
            finally:
                over.set()

        workers = [f"worker-{n}" for n in range(4)]
        together([open_and_close, *(partial(claim_on, worker) for worker in workers)])
        assert Job.objects.filter(status=Status.RUNNING).exists()
        assert Job.objects.filter(status=Status.PENDING).exists()


class TestSubmitters:
    def test_same_key_is_one_job_in_one_lane(self, alice: Tenant) -> None:
        def submit_all() -> list[Submitted]:
            return [
                services.submit(
                    alice, NewJob(task="echo", queue=f"queue-{n}", idempotency_key=f"key-{n}")
                )
                for n in range(10)
            ]

        for answers in zip(*together([submit_all] * THREADS), strict=True):
            assert len({answer.job_id for answer in answers}) == 1
            assert [answer.created for answer in answers].count(True) == 1
        assert Job.objects.count() == Lane.objects.count() == 10

    def test_same_keys_in_any_order_never_deadlock(self, alice: Tenant) -> None:
        def submit_shuffled(seed: int) -> None:
            jobs = [
                NewJob(task="echo", queue=f"queue-{n % 7}", idempotency_key=f"key-{n}")
                for n in range(800)
            ]
            random.Random(seed).shuffle(jobs)
            services.submit_many(alice, jobs)

        for n in range(7):
            submit(alice, queue=f"queue-{n}")  # who made lanes and lines would hold up the others
        together([partial(submit_shuffled, seed) for seed in range(THREADS)])
        assert Job.objects.exclude(idempotency_key=None).count() == 800

    def test_rate_is_exact(self, make_tenant: Callable[..., Tenant]) -> None:
        tenant = make_tenant("limited", submissions_per_minute=20)
        accepted = together([partial(self.accepted, tenant, TooManyRequests)] * THREADS)
        assert sum(accepted) == Job.objects.count() == 20
        assert SubmissionSecond.objects.aggregate(total=Sum("submitted")) == {"total": 20}

    def test_cap_of_waiting_jobs_is_exact(self, make_tenant: Callable[..., Tenant]) -> None:
        tenant = make_tenant("limited", max_pending=20)
        accepted = together([partial(self.accepted, tenant, QueueFull)] * THREADS)
        assert sum(accepted) == Job.objects.count() == 20

    def accepted(self, tenant: Tenant, refusal: type[Exception]) -> int:
        """How many of ten submissions were not refused."""
        count = 0
        for _ in range(10):
            try:
                services.submit(tenant, NewJob(task="echo"))
                count += 1
            except refusal:
                continue
        return count


class TestEndings:
    def test_cancel_claim_and_finish_make_exactly_one(self, alice: Tenant) -> None:
        ids, lane = submit(alice, 60), lane_of(alice)

        def work(worker: str) -> set[uuid.UUID]:
            ended: set[uuid.UUID] = set()
            while Job.objects.filter(status=Status.PENDING).exists():
                for job in claim(lane, quota=2, worker=worker):
                    ended |= finish(job, Status.DONE)
            return ended

        def cancel(seed: int) -> set[uuid.UUID]:
            for job_id in random.Random(seed).sample(ids, 40):
                store.cancel([job_id])
            return set()

        done = list(itertools.chain(*together([
            *(partial(work, f"worker-{n}") for n in range(3)),
            *(partial(cancel, seed) for seed in range(3)),
        ])))  # fmt: skip
        assert len(done) == len(set(done)) == LaneMinute.objects.aggregate(n=Sum("done"))["n"]
        for job in Job.objects.all():
            assert job.status == (Status.DONE if job.pk in done else Status.CANCELLED)
            assert job.attempt == (1 if job.status == Status.DONE else 0)

    def test_reap_and_finish_make_exactly_one(self, alice: Tenant) -> None:
        submit(alice, 60)
        jobs = claim(lane_of(alice))
        expire(job.id for job in jobs)

        def finish_all() -> set[uuid.UUID]:
            return set().union(*(finish(job, Status.DONE) for job in jobs))

        def reap_all() -> set[uuid.UUID]:
            return set().union(*(store.reap("reaper", no_delay, limit=3) for _ in range(20)))

        done, reaped = together([finish_all, reap_all])
        assert done.isdisjoint(reaped)
        assert done | reaped == {job.id for job in jobs}
        assert {status_of(job_id) for job_id in done} <= {Status.DONE}
        assert {status_of(job_id) for job_id in reaped} <= {Status.FAILED}
        assert Attempt.objects.count() == len(reaped)

    def test_two_reapers_take_each_job_once(self, alice: Tenant) -> None:
        submit(alice, 60)
        expire(job.id for job in claim(lane_of(alice)))

        def reap_all() -> list[uuid.UUID]:
            return list(
                itertools.chain(*(store.reap("reaper", no_delay, limit=5) for _ in range(20)))
            )

        reaped = list(itertools.chain(*together([reap_all, reap_all])))
        assert len(reaped) == len(set(reaped)) == Attempt.objects.count() == 60
        assert set(Job.objects.values_list("lost_count", flat=True)) == {1}

    def test_two_promoters_promote_each_job_once(self, alice: Tenant) -> None:
        ids = submit(alice, 60, delay_seconds=60)
        Job.objects.filter(pk__in=ids).update(run_at=database_time())
        promoted = together([lambda: sum(store.promote(limit=5) for _ in range(20))] * 2)
        assert sum(promoted) == 60


class TestLocking:
    def test_batches_over_the_same_lanes_never_deadlock(self, alice: Tenant) -> None:
        queues = [f"queue-{n}" for n in range(10)]
        for queue in queues:
            submit(alice, THREADS * 5, queue=queue)
        lanes = [lane_of(alice, queue) for queue in queues]
        batches = [claim(*lanes, quota=5) for _ in range(THREADS)]

        def finish_in_pieces(seed: int) -> int:
            jobs = batches[seed]
            random.Random(seed).shuffle(jobs)
            pieces = [jobs[start : start + 10] for start in range(0, 50, 10)]
            return sum(
                len(store.finish("one shard", [outcome(job, Status.DONE) for job in piece]))
                for piece in pieces
            )

        assert together([partial(finish_in_pieces, n) for n in range(THREADS)]) == [50] * THREADS
        assert LaneMinute.objects.aggregate(n=Sum("done"))["n"] == THREADS * 50

    def test_all_who_write_running_jobs_never_deadlock(self, alice: Tenant) -> None:
        submit(alice, 400)
        jobs = claim(lane_of(alice), quota=400)
        expire(job.id for job in jobs[::4])

        def repeat(seed: int, act: Callable[[list[store.ClaimedJob]], object]) -> None:
            chance = random.Random(seed)
            for _ in range(6):
                act(chance.sample(jobs, 200))

        def leases(some: list[store.ClaimedJob]) -> list[Lease]:
            return [Lease(job.id, job.fence) for job in some]

        acts: list[Callable[[list[store.ClaimedJob]], object]] = [
            lambda some: store.extend(leases(some), lease_seconds=30),
            lambda some: store.extend(leases(some), lease_seconds=30),
            lambda some: store.cancel([job.id for job in some]),
            lambda some: store.cancel([job.id for job in some]),
            lambda some: store.finish("w", [outcome(job, Status.DONE) for job in some[:20]]),
            lambda some: store.release(leases(some[:20])),
            lambda some: store.reap("reaper", no_delay, limit=20),
        ]
        together([partial(repeat, seed, act) for seed, act in enumerate(acts)])
        assert Job.objects.filter(status=Status.DONE).exists()


class TestDeletedTenant:
    def test_tenant_that_a_job_is_just_submitted_to_stays(self, alice: Tenant) -> None:
        if not is_postgresql():
            pytest.skip("SQLite has one writer at a time")
        lane_of(alice)
        inserted, deleting = threading.Event(), threading.Event()

        def submit_slowly() -> bool:
            with transaction.atomic():
                submit(alice)
                inserted.set()
                deleting.wait(30)
                time.sleep(0.2)
            return True

        def delete() -> bool:
            inserted.wait(30)
            Tenant.objects.filter(pk=alice.pk).update(is_active=False)
            deleting.set()
            try:
                services.delete_tenant(alice, actor="command:test")
            except StatusConflict:
                return False
            return True

        assert together([submit_slowly, delete]) == [True, False]
        assert Job.objects.get().tenant == alice
