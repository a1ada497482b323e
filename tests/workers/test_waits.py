"""The finisher counts how long the jobs had waited whose outcomes it has recorded."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from django.db import DataError, OperationalError

from jobs import store
from jobs.models import LaneMinute, Tenant, WaitMinute
from jobs.registry import find
from jobs.statuses import Status
from jobs.store import Outcome, waits
from jobs.store.waits import bucket_of
from tests.store.steps import WORKER, claim_one, outcome
from workers import finisher, process
from workers.finisher import Finisher
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger
from workers.process import Options, WorkerProcess

pytestmark = pytest.mark.django_db
QUICK, SLOW = 0.5, 90.0


@pytest.fixture
def role() -> Iterator[Finisher]:
    ledger = Ledger(4)
    yield Finisher(WORKER, HeldJobs(4), ledger)
    ledger.close()


def end(role: Finisher, *ended: tuple[store.ClaimedJob, Status, float]) -> None:
    """Have outcomes recorded as one batch, of jobs that had waited for so many seconds."""
    for job, status, seconds in ended:
        told = outcome(job, status, waited_seconds=seconds)
        role.put(HeldJob(job, find("echo"), 0), told)
    role.tick()


def counted(tenant: Tenant) -> dict[int, int]:
    return dict(WaitMinute.objects.filter(tenant_id=tenant.pk).values_list("bucket", "attempts"))


def test_what_ended_is_counted_however_it_did(
    role: Finisher, alice: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    end(
        role,
        (claim_one(alice), Status.DONE, QUICK),
        (claim_one(alice), Status.FAILED, QUICK),
        (claim_one(alice), Status.DLQ, SLOW),
        (claim_one(mallory), Status.CANCELLED, SLOW),
    )
    assert counted(alice) == {bucket_of(QUICK): 2, bucket_of(SLOW): 1}
    assert counted(mallory) == {bucket_of(SLOW): 1}


def test_what_came_too_late_is_not_counted(
    role: Finisher, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    in_time, late = claim_one(alice), claim_one(alice)
    end(role, (in_time, Status.DONE, QUICK), (late._replace(fence=9), Status.DONE, SLOW))
    assert counted(alice) == {bucket_of(QUICK): 1}


def test_an_idle_finisher_writes_what_is_due(
    role: Finisher, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finisher, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(waits, "WRITE_SECONDS", 3_600)
    end(role, (claim_one(alice), Status.DONE, QUICK))
    role.tick()
    assert counted(alice) == {}
    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    role.tick()
    assert counted(alice) == {bucket_of(QUICK): 1}


def test_counts_that_cannot_be_written_keep_no_outcome_back(
    role: Finisher, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(rows: object) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    monkeypatch.setattr(waits, "_add", refuse)
    job = claim_one(alice)
    end(role, (job, Status.DONE, QUICK))
    assert store.finish(WORKER, [outcome(job, Status.DONE)]) == set(), "it was recorded"
    assert counted(alice) == {}


def test_an_outcome_that_cannot_be_stored_keeps_its_times(
    role: Finisher, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.finish

    def refuse_results(worker: str, outcomes: Sequence[Outcome]) -> object:
        if any(one.result for one in outcomes):
            raise DataError("a number that is too large")
        return real(worker, outcomes)

    monkeypatch.setattr(store, "finish", refuse_results)
    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    job = claim_one(alice)
    told = outcome(job, Status.DONE, result=b"1e999", waited_seconds=SLOW, ran_seconds=QUICK)
    role.put(HeldJob(job, find("echo"), 0), told)
    role.tick()
    minute = LaneMinute.objects.get()
    assert (minute.dead, minute.wait_seconds, minute.run_seconds) == (1, SLOW, QUICK)
    assert counted(alice) == {bucket_of(SLOW): 1}


@pytest.mark.django_db(transaction=True)
def test_a_drain_counts_what_is_recorded_at_that_moment(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the thread is that has just recorded it."""
    real, was_recorded, may_go_on = store.finish, threading.Event(), threading.Event()

    def finish_slowly(worker: str, outcomes: Sequence[Outcome]) -> object:
        recorded = real(worker, outcomes)
        was_recorded.set()
        may_go_on.wait(60)
        return recorded

    monkeypatch.setattr(store, "finish", finish_slowly)
    monkeypatch.setattr(process, "FINISH_SECONDS", 60)
    ledger, job = Ledger(1), claim_one(alice)
    told = outcome(job, Status.DONE, waited_seconds=QUICK)
    options = Options(concurrency=1, queues=frozenset(), tags=frozenset(), drain_seconds=0)
    worker = WorkerProcess(WORKER, options, ledger, supervisor=0)
    worker._finisher.start()
    worker._finisher.put(HeldJob(job, find("echo"), 0), told)
    assert was_recorded.wait(60)
    goes_on = threading.Timer(1.5, may_go_on.set)
    goes_on.start()
    for one in worker._roles:
        if one is not worker._finisher:
            monkeypatch.setattr(one, "stop", lambda timeout: True)  # they were never started
    worker._drain()
    goes_on.join()
    ledger.close()
    assert counted(alice) == {bucket_of(QUICK): 1}
