"""The ledger says which jobs a process has started, as long as their outcomes are not recorded."""

import pytest
from django.db import OperationalError

from jobs import store
from jobs.models import Tenant
from jobs.registry import find
from jobs.statuses import Status
from tests.store.steps import WORKER, claim_one, outcome
from workers.finisher import Finisher
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger

pytestmark = pytest.mark.django_db


def test_a_job_is_in_it_from_its_start_until_its_outcome_is_recorded(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(1)
    finisher = Finisher(WORKER, HeldJobs(1), ledger)
    for _ in range(2):  # its only place is used again
        held = HeldJob(claim_one(alice), find("echo"), 0)
        assert ledger.read() == set()
        ledger.enter(held)
        finisher.put(held, outcome(held.job, Status.DONE))
        with monkeypatch.context() as away:
            away.setattr(store, "finish", unreachable)
            with pytest.raises(OperationalError):
                finisher.tick()
        assert ledger.read() == {held.lease}, "should the process die now, the job is lost"
        finisher.tick()
    assert ledger.read() == set()
    ledger.close()


def unreachable(*args: object) -> None:
    raise OperationalError("the database is away")
