"""The finisher counts how long the jobs had waited whose outcomes it has recorded."""

from collections.abc import Iterator

import pytest
from django.db import OperationalError

from jobs import store
from jobs.models import Tenant, WaitMinute
from jobs.registry import find
from jobs.statuses import Status
from jobs.store import waits
from jobs.store.waits import bucket_of
from tests.store.steps import WORKER, claim_one, outcome
from workers import finisher
from workers.finisher import Finisher
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger

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
    def refuse(*_: object) -> int:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    monkeypatch.setattr(waits, "execute", refuse)
    job = claim_one(alice)
    end(role, (job, Status.DONE, QUICK))
    assert store.finish(WORKER, [outcome(job, Status.DONE)]) == set(), "it was recorded"
    assert counted(alice) == {}
