"""What the finisher tells others."""

import time

import pytest

from jobs.models import Tenant
from jobs.registry import find
from jobs.statuses import Status
from tests.store.steps import WORKER, claim_one, outcome
from workers.finisher import Finisher
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("status", "told"),
    [(Status.DONE, ["room"]), (Status.DLQ, ["room"]), (Status.FAILED, ["retry", "room"])],
)
def test_promoter_hears_of_every_retry_and_the_claimer_of_every_place(
    alice: Tenant, status: Status, told: list[str]
) -> None:
    said: list[str] = []
    held, jobs = HeldJob(claim_one(alice), find("echo"), time.monotonic()), HeldJobs(1)
    jobs.add([held])
    finisher = Finisher(WORKER, jobs, Ledger(1))
    finisher.on_room(lambda: said.append("room"))
    finisher.on_retry(lambda: said.append("retry"))
    finisher.put(held, outcome(held.job, status))
    finisher.tick()
    assert said == told
    assert len(jobs) == 0
