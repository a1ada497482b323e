"""Leases: one at a time, fences that only rise, and ends that stay."""

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import Sum

from jobs import services, store
from jobs.models import Attempt, AuditEntry, Job, LaneMinute, Tenant
from jobs.registry import find
from jobs.statuses import Status
from jobs.store import ClaimedJob, Lease
from jobs.store.dialect import is_postgresql
from tests.harness import wait_until
from tests.invariants.deadline import Deadline
from tests.store.steps import (
    WORKER,
    claim,
    claim_one,
    expire,
    finish,
    lane_of,
    make_due,
    no_delay,
    outcome,
    row,
    status_of,
    submit,
    together,
)
from workers import finisher
from workers.finisher import Finisher
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger

pytestmark = pytest.mark.django_db(transaction=True)


class Holders:
    """Who holds which job, as the claimers see it: entered after a claim, struck before its end."""

    def __init__(self) -> None:
        self.grants: list[Lease] = []
        self._by_job: dict[uuid.UUID, str] = {}
        self._lock = threading.Lock()

    def enter(self, worker: str, jobs: list[ClaimedJob]) -> None:
        with self._lock:
            for job in jobs:
                assert job.id not in self._by_job, f"{self._by_job[job.id]} and {worker} hold it"
                self._by_job[job.id] = worker
                self.grants.append(Lease(job.id, job.fence))

    def strike(self, jobs: list[ClaimedJob]) -> None:
        with self._lock:
            for job in jobs:
                del self._by_job[job.id]


def test_S4_a_job_has_one_holder_at_a_time(alice: Tenant) -> None:
    lane, holders, quota = lane_of(alice), Holders(), 7
    if is_postgresql():
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE jobs_job")  # the planner believes that the table is empty
    for _ in range(3):
        submit(alice, 200)

    def work(worker: str) -> None:
        chance = random.Random(worker)
        deadline = Deadline()
        while deadline.holds() and (Job.objects.exclude(status=Status.DONE).exists()):
            jobs = claim(lane, quota=quota, worker=worker)
            assert len(jobs) <= quota
            holders.enter(worker, jobs)
            chance.shuffle(jobs)
            holders.strike(jobs)
            store.release([Lease(job.id, job.fence) for job in jobs[:2]])
            store.finish(worker, [outcome(job, Status.DONE) for job in jobs[2:]])
            if len(jobs) <= 2:
                for job in claim(lane, quota=2, worker=worker):
                    finish(job, Status.DONE)

    together([partial(work, f"worker-{n}") for n in range(8)])
    assert len(holders.grants) == len(set(holders.grants)) > 600


@pytest.mark.parametrize("way", ["at once", "line by line"])
def test_S4_who_claims_at_the_same_moment_gets_other_jobs(alice: Tenant, way: str) -> None:
    rounds, claimers, quota = 25, 6, 5
    submit(alice, rounds * claimers * quota)
    (seen,) = store.ready_lanes()
    share = seen.share(quota) if way == "at once" else store.Share(seen.lane_id, quota)
    barrier = threading.Barrier(claimers)

    def work(worker: str) -> list[uuid.UUID]:
        claimed: list[uuid.UUID] = []
        for _ in range(rounds):
            barrier.wait(timeout=60)
            jobs = store.claim(worker, [share], lease_seconds=30)
            assert len(jobs) <= quota
            claimed += [job.id for job in jobs]
        return claimed

    claimed = [
        job_id for of in together([partial(work, f"w{n}") for n in range(6)]) for job_id in of
    ]
    assert len(claimed) == len(set(claimed)) == Job.objects.filter(status=Status.RUNNING).count()
    assert set(Job.objects.values_list("attempt", "fence")) <= {(0, 0), (1, 1)}


BACK_TO_READY: dict[str, Callable[[ClaimedJob], object]] = {
    "release": lambda job: store.release([Lease(job.id, job.fence)]),
    "fail, then promote": lambda job: (
        finish(job, Status.FAILED), make_due([job.id]), store.promote(),
    ),
    "fail, then retry": lambda job: (finish(job, Status.FAILED), store.retry([job.id])),
    "reap, then promote": lambda job: (
        expire([job.id]), store.reap("reaper", no_delay), store.promote(),
    ),
    "bury, then redrive": lambda job: (finish(job, Status.DLQ), store.redrive([job.id])),
    "worker died": lambda job: (
        store.lose_worker(WORKER, [Lease(job.id, job.fence)], no_delay), store.promote(),
    ),
    "worker died before it started": lambda job: store.lose_worker(WORKER, [], no_delay),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_S5_fences_only_rise_while_attempts_do_not(alice: Tenant, seed: int) -> None:
    chance, lane, grants = random.Random(seed), lane_of(alice), []
    (job_id,) = submit(alice, max_retries=50)
    moves = [*BACK_TO_READY.values()] * 2
    chance.shuffle(moves)
    for back_to_ready in moves:
        (job,) = claim(lane)
        grants.append(job)
        back_to_ready(job)
        if status_of(job_id) == Status.DLQ:  # lost once too often
            store.redrive([job_id])
    (last,) = claim(lane)
    fences = [job.fence for job in [*grants, last]]
    assert all(later > earlier for earlier, later in pairwise(fences))
    assert len({job.attempt for job in grants}) < len(grants), "attempts would not do as fences"


TAKEN_OVER: dict[str, Callable[[ClaimedJob], object]] = {
    "held by another": lambda job: claim(lane_of(Tenant.objects.get()), worker="another"),
    "held by itself again": lambda job: claim(lane_of(Tenant.objects.get())),
    "done by another": lambda job: [
        finish(again, Status.DONE) for again in claim(lane_of(Tenant.objects.get()))
    ],
    "waiting": lambda job: None,
}
ACTS: dict[str, Callable[[ClaimedJob], Any]] = {
    "heartbeat": lambda job: store.extend([Lease(job.id, job.fence)], lease_seconds=9_999),
    "release": lambda job: store.release([Lease(job.id, job.fence)]),
    **{
        status: lambda job, s=status: finish(job, s, result=b'"late"')
        for status in (Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED)
    },
}


@pytest.mark.parametrize("since", TAKEN_OVER)
@pytest.mark.parametrize("act", ACTS)
def test_S6_only_the_current_fence_acts(alice: Tenant, since: str, act: str) -> None:
    late = claim_one(alice)
    expire([late.id])
    assert store.reap("reaper", no_delay) == [late.id]
    assert store.promote() == 1
    TAKEN_OVER[since](late)
    before = row(late.id), list(Attempt.objects.values()), list(LaneMinute.objects.values())
    assert not ACTS[act](late)
    assert before == (
        row(late.id), list(Attempt.objects.values()), list(LaneMinute.objects.values()),
    )  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_S6_a_late_one_does_not_harm_the_others_of_its_batch(alice: Tenant, act: str) -> None:
    late, current = claim_one(alice), claim_one(alice)
    store.release([Lease(late.id, late.fence)])
    batch = [Lease(job.id, job.fence) for job in (late, current)]
    calls: dict[str, Callable[[], Any]] = {
        "heartbeat": lambda: store.extend(batch, lease_seconds=30),
        "release": lambda: store.release(batch),
    }
    write_outcomes = partial(
        store.finish, WORKER, [outcome(job, Status(act)) for job in (late, current)]
    ) if act not in calls else calls[act]  # fmt: skip
    assert set(write_outcomes()) == {current.id}
    assert status_of(late.id) == Status.PENDING


def test_S7_what_ended_stays_ended_whatever_is_tried(alice: Tenant) -> None:
    lane, ended, over = lane_of(alice), {}, threading.Event()
    ids = submit(alice, 120)
    leases: list[Lease] = []

    def work(worker: str) -> None:
        chance = random.Random(worker)
        deadline = Deadline()
        while deadline.holds() and (
            Job.objects.exclude(status__in=[Status.DONE, Status.CANCELLED]).exists()
        ):
            for job in claim(lane, quota=4, worker=worker):
                leases.append(Lease(job.id, job.fence))
                status = chance.choice([Status.DONE, Status.DONE, Status.CANCELLED, Status.FAILED])
                if finish(job, status, retry_in=0) and status is not Status.FAILED:
                    ended[job.id] = row(job.id)
            store.promote()

    def meddle(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            some = chance.sample(ids, 20)
            held = chance.sample(leases, min(5, len(leases)))
            store.retry(some)
            store.redrive(some)
            store.discard(some)
            store.cancel([job_id for job_id in some if job_id in ended])
            store.extend([lease for lease in held if lease.job_id in ended], lease_seconds=30)
            store.release([lease for lease in held if lease.job_id in ended])
            store.reap("reaper", no_delay)
            store.promote()

    def work_all() -> None:
        try:
            together([partial(work, f"worker-{n}") for n in range(3)])
        finally:
            over.set()

    together([work_all, partial(meddle, 1), partial(meddle, 2)])
    assert len(ended) == len(ids)
    assert {job_id: row(job_id) for job_id in ids} == ended


def test_S7_a_dead_letter_comes_back_by_a_redrive_alone_which_is_audited(alice: Tenant) -> None:
    job = claim_one(alice)
    finish(job, Status.DLQ)
    for act in (store.retry, store.cancel):
        assert act([job.id]) == []
    assert store.promote() == 0
    assert claim(lane_of(alice)) == []
    assert services.redrive([job.id], actor="user:ann", tenant=alice) == [job.id]
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.target) == ("user:ann", "redrive", str(job.id))
    (again,) = claim(lane_of(alice))
    assert (again.id, again.attempt) == (job.id, 1)
    assert Attempt.objects.filter(job=job.id).count() == 1, "its history is kept"


ENDINGS = [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED]


@pytest.mark.parametrize("first", ENDINGS)
@pytest.mark.parametrize("second", ENDINGS)
def test_S8_a_repeated_outcome_changes_nothing(
    alice: Tenant, first: Status, second: Status
) -> None:
    job = claim_one(alice)
    assert finish(job, first) == {job.id}
    before = row(job.id), list(Attempt.objects.values()), list(LaneMinute.objects.values())
    assert finish(job, second, result=b'"second"') == set()
    assert before == (
        row(job.id), list(Attempt.objects.values()), list(LaneMinute.objects.values()),
    )  # fmt: skip


@pytest.fixture
def finishing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HeldJobs, Finisher, list[bool]]]:
    """A finisher at work; the first answer that the database gives it gets lost."""
    answers: list[bool] = []

    def lose_the_first_answer(worker: str, outcomes: Any) -> set[uuid.UUID]:
        recorded = store.finish(worker, outcomes)
        answers.append(bool(recorded))
        if len(answers) == 1:
            raise OperationalError("the connection broke after the commit")
        return recorded

    class Store:
        finish = staticmethod(lose_the_first_answer)

    monkeypatch.setattr(finisher, "store", Store)
    held, ledger = HeldJobs(4), Ledger(4)
    role = Finisher(WORKER, held, ledger)
    role.start()
    yield held, role, answers
    assert role.stop()
    ledger.close()


def test_S8_an_outcome_whose_answer_got_lost_is_recorded_once(
    alice: Tenant, finishing: tuple[HeldJobs, Finisher, list[bool]]
) -> None:
    held, role, answers = finishing
    job = claim_one(alice)
    one = HeldJob(job, find("echo"), 0)
    held.add([one])
    role.put(one, outcome(job, Status.DONE))
    wait_until(lambda: not len(held), what="the finisher lets go of the job")
    assert answers == [True, False]
    assert status_of(job.id) == Status.DONE
    assert LaneMinute.objects.aggregate(n=Sum("done")) == {"n": 1}


RESCUED_MEANWHILE: dict[str, Callable[[ClaimedJob], Any]] = {
    "finish": lambda job: finish(job, Status.DONE),
    "heartbeat": lambda job: (
        # None: it may be held, but was not extended
        store.extend([Lease(job.id, job.fence)], lease_seconds=30).get(job.id) is not None
    ),
    "release": lambda job: store.release([Lease(job.id, job.fence)]),
    "cancel": lambda job: store.cancel([job.id]),
}


@pytest.mark.parametrize("act", RESCUED_MEANWHILE)
def test_S9_a_rescue_never_overwrites_what_happened_since_it_looked(
    alice: Tenant, act: str
) -> None:
    job = claim_one(alice)
    expire([job.id])
    looked, acted = threading.Event(), threading.Event()

    def reap() -> list[uuid.UUID]:
        def pause_after_the_look(execute: Any, sql: str, *rest: Any) -> Any:
            answer = execute(sql, *rest)
            if sql.lstrip().startswith("SELECT") and "lease_expires_at <" in sql:
                looked.set()
                acted.wait(1)  # the other may have to wait for us, and then comes second
            return answer

        with connection.execute_wrapper(pause_after_the_look):
            return store.reap("reaper", no_delay)

    def meanwhile() -> Any:
        assert looked.wait(10)
        try:
            return RESCUED_MEANWHILE[act](job)
        finally:
            acted.set()

    reaped, answer = together([reap, meanwhile])
    held_then = act != "cancel" and bool(answer)
    assert held_then != bool(reaped), "one of the two had the job"
    if reaped:
        assert status_of(job.id) in {Status.FAILED, Status.CANCELLED}
        assert Job.objects.get().lost_count == Attempt.objects.count() == 1
    else:
        expected = {"finish": Status.DONE, "heartbeat": Status.RUNNING, "release": Status.PENDING}
        assert status_of(job.id) == expected[act]
        assert Job.objects.get().lost_count == Attempt.objects.count() == 0
