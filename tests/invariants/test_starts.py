"""When a job may start: within limits, not while paused, not early, not once cancelled."""

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.db.models import Sum
from django.utils import timezone

from jobs import services, store
from jobs.models import Job, LaneMinute, Tenant
from jobs.statuses import TERMINAL, Status
from tests.harness import wait_until
from tests.invariants.deadline import Deadline
from tests.store.steps import (
    claim,
    claim_one,
    database_time,
    finish,
    lane_of,
    no_delay,
    outcome,
    status_of,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = "command:test"
CLAIMERS = 6

Runs = list[tuple[datetime, datetime]]


def runs(**which: object) -> Runs:
    """From when to when each of the jobs ran."""
    return list(Job.objects.filter(**which).values_list("started_at", "finished_at"))


def running_at_starts(of: Runs) -> list[tuple[datetime, int]]:
    """At each start, how many ran, this one included; who ends at that very time does not."""
    return [
        (start, sum(begin <= start < end for begin, end in of))
        for start in sorted(start for start, _ in of)
    ]


def work_off(worker: str) -> None:
    """Claim what can be had and end it a moment later, until all is done."""
    deadline = Deadline()
    while deadline.holds() and (Job.objects.exclude(status=Status.DONE).exists()):
        shares = [store.Share(lane.lane_id, 4) for lane in store.ready_lanes()]
        jobs = store.claim(worker, shares, lease_seconds=30)
        time.sleep(0.01)  # the work
        store.finish(worker, [outcome(job, Status.DONE) for job in jobs])


@contextmanager
def watching(**which: object) -> Iterator[list[int]]:
    """Looks all the time how many of the jobs run."""
    seen, over = [0], threading.Event()

    def look() -> list[int]:
        while not over.wait(0.001):
            seen.append(Job.objects.filter(status=Status.RUNNING, **which).count())
        return seen

    def run() -> None:
        together([look])

    watcher = threading.Thread(target=run)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("scope", ["lane", "tenant"])
def test_S11_a_limit_holds_at_every_instant_also_while_it_changes(
    alice: Tenant, scope: str
) -> None:
    lanes = [lane_of(alice, queue) for queue in ("a", "b")]
    for lane in lanes:
        submit(alice, 300, queue=lane.queue)
    target = alice if scope == "tenant" else lanes[0]
    which = {"tenant": alice} if scope == "tenant" else {"lane": lanes[0]}
    services.change_limits(target, actor=ACTOR, max_running=6)
    changes: list[tuple[datetime, datetime]] = []

    def change(after_more: int, limit: int) -> None:
        done = Job.objects.filter(status=Status.DONE, **which)
        enough = done.count() + after_more
        wait_until(lambda: done.count() >= enough, 30)
        asked = database_time()
        services.change_limits(target, actor=ACTOR, max_running=limit)
        changes.append((asked, database_time()))

    def operate() -> None:
        change(30, 2)
        change(30, 6)

    with watching(**which) as seen:
        together([operate, *(partial(work_off, f"worker-{n}") for n in range(CLAIMERS))])
    (_, lowered), (raised, _) = changes
    starts = running_at_starts(runs(**which))
    while_low = [now for at, now in starts if lowered < at < raised]
    assert max(seen) <= 6
    assert max(now for _, now in starts) <= 6
    assert while_low
    assert max(while_low) <= 2


def test_S11_two_who_claim_at_once_share_the_last_place(alice: Tenant) -> None:
    services.change_limits(alice, actor=ACTOR, max_running=3)
    lanes = [lane_of(alice, queue) for queue in ("a", "b", "c")]
    for lane in lanes:
        submit(alice, 30, queue=lane.queue)
    for _ in range(15):
        asked = [partial(claim, lanes[n % 3], quota=3, worker=f"w{n}") for n in range(CLAIMERS)]
        claimed = list(itertools.chain(*together(asked)))
        assert len(claimed) <= 3
        store.finish("w", [outcome(job, Status.DONE) for job in claimed])


@pytest.mark.parametrize("what", ["pause", "switch off", "limit of nothing"])
@pytest.mark.parametrize("way", ["at once", "line by line"])
def test_S13_nothing_starts_after_a_pause_was_answered(alice: Tenant, what: str, way: str) -> None:
    submit(alice, 500)
    (seen,) = store.ready_lanes()  # before the pause: what a claimer knows may be old
    share = seen.share(1) if way == "at once" else store.Share(seen.lane_id, 1)
    over, tries = threading.Event(), Counter[str]()
    workers = [f"worker-{n}" for n in range(4)]

    def close(closed: bool) -> None:
        if what == "pause":
            services.set_queue_paused(alice, "default", paused=closed, actor=ACTOR)
        elif what == "switch off":
            services.change_limits(alice, actor=ACTOR, is_active=not closed)
        else:
            services.change_limits(alice, actor=ACTOR, max_running=0 if closed else None)

    def claim_on(worker: str) -> None:
        while not over.wait(0.002):
            store.claim(worker, [share], lease_seconds=30)
            tries[worker] += 1

    def all_tried(count: int) -> Callable[[], bool]:
        goal = {worker: tries[worker] + count for worker in workers}
        return lambda: all(tries[worker] >= goal[worker] for worker in workers)

    def open_and_close() -> None:
        try:
            for _ in range(4):
                wait_until(all_tried(2), 20)
                submit(alice, 500)
                close(True)
                answered = database_time()
                wait_until(all_tried(3), 20)
                assert not Job.objects.filter(started_at__gt=answered).exists()
                assert Job.objects.filter(status=Status.PENDING).exists(), "which could start"
                close(False)
        finally:
            over.set()

    together([open_and_close, *(partial(claim_on, worker) for worker in workers)])
    assert Job.objects.filter(status=Status.RUNNING).exists()


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of this machine wrong; the database has its own."""
    right = time.time

    def set_wrong(seconds: int) -> None:
        monkeypatch.setattr(time, "time", lambda: right() + seconds)
        monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + timedelta(seconds=seconds))

    return set_wrong


@pytest.mark.parametrize("skew", [300, -300], ids=["ahead", "behind"])
def test_S14_never_before_its_time_by_the_databases_clock(
    alice: Tenant, wrong_clock: Callable[[int], None], skew: int
) -> None:
    delays = [0.1 * n for n in range(1, 11)]
    retried = claim_one(alice)
    wrong_clock(skew)
    for delay in delays:
        submit(alice, delay_seconds=delay)
    finish(retried, Status.FAILED, retry_in=0.4)
    together([partial(claim_when_due, alice, len(delays) + 1)] * 3)
    jobs = Job.objects.order_by("pk")
    assert all(job.started_at >= job.run_at for job in jobs)
    for job, delay in zip([job for job in jobs if job.pk != retried.id], delays, strict=True):
        assert (job.run_at - job.created_at).total_seconds() == pytest.approx(delay, abs=0.05)


def claim_when_due(tenant: Tenant, count: int) -> None:
    lane = lane_of(tenant)
    deadline = Deadline()
    while deadline.holds() and (Job.objects.filter(status=Status.RUNNING).count() < count):
        store.promote()
        for job in claim(lane):
            assert Job.objects.get(pk=job.id).run_at <= database_time()
            assert job.waited_seconds >= 0


def test_S14_a_wrong_clock_of_a_machine_takes_no_lease_away(
    alice: Tenant, wrong_clock: Callable[[int], None]
) -> None:
    job = claim_one(alice)
    wrong_clock(3_600)
    assert store.reap("reaper", no_delay) == []
    assert status_of(job.id) == Status.RUNNING


def test_S16_cancel_is_final_and_there_is_one_end(alice: Tenant) -> None:
    lane, ids = lane_of(alice), submit(alice, 150)
    waiting: set[uuid.UUID] = set()

    def work(worker: str) -> list[uuid.UUID]:
        started = []
        deadline = Deadline()
        while deadline.holds() and (Job.objects.exclude(status__in=TERMINAL).exists()):
            jobs = claim(lane, quota=3, worker=worker)
            started += [job.id for job in jobs]
            for job in jobs:
                asked = store.extend([store.Lease(job.id, job.fence)], lease_seconds=30)
                end = Status.CANCELLED if asked[job.id] else Status.DONE
                assert finish(job, end) == {job.id}
        return started

    def cancel(seed: int) -> list[uuid.UUID]:
        for job_id in random.Random(seed).sample(ids, 90):
            before = status_of(job_id)
            if store.cancel([job_id]) and before == Status.PENDING:
                is_final = status_of(job_id) == Status.CANCELLED
                if is_final and not Job.objects.get(pk=job_id).attempt:
                    waiting.add(job_id)
        return []

    acts = [*(partial(work, f"w{n}") for n in range(3)), *(partial(cancel, n) for n in range(2))]
    started = list(itertools.chain(*together(acts)))
    assert len(started) == len(set(started))
    assert waiting
    assert waiting.isdisjoint(started), "a job that was cancelled while it waited never starts"
    assert set(ids) == {*started, *Job.objects.filter(attempt=0).values_list("pk", flat=True)}
    ends = Counter(Job.objects.values_list("status", flat=True))
    counted = LaneMinute.objects.aggregate(DONE=Sum("done"), CANCELLED=Sum("cancelled"))
    assert counted == ends, "each ended once"


def test_S16_a_running_job_learns_of_it_at_its_next_heartbeat(alice: Tenant) -> None:
    job = claim_one(alice)
    lease = store.Lease(job.id, job.fence)
    assert store.extend([lease], lease_seconds=30) == {job.id: False}
    assert store.cancel([job.id]) == [job.id]
    assert store.extend([lease], lease_seconds=30) == {job.id: True}
    assert status_of(job.id) == Status.RUNNING, "until its worker has stopped it"
    assert finish(job, Status.FAILED, retry_in=0) == {job.id}
    assert status_of(job.id) == Status.CANCELLED, "it is not tried again"
