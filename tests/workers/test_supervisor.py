"""The supervisor settles what a dead process held, and looks once more for what came late."""

import time
from collections.abc import Iterator

import pytest
from django.utils import timezone

from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status, WorkerRequest
from tests.harness import wait_until
from tests.store.steps import claim, lane_of, row, submit
from workers import supervisor as module
from workers.ledger import Ledger
from workers.process import RETIRED, Options
from workers.supervisor import Supervisor

pytestmark = pytest.mark.django_db
DEAD, KILLED = "dead-worker", -9


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """One of a process that has just been killed, whose jobs it has settled for the first time."""
    options = Options(concurrency=4, queues=frozenset(), tags=frozenset(), drain_seconds=1)
    made = Supervisor(1, options)
    made._bury(module._Alive(DEAD, Ledger(10), time.monotonic()), KILLED)
    made._settle()
    yield made
    made._wakes.close()
    made._wakeup.close()


def test_claim_that_is_committed_after_the_death_is_given_back(
    alice: Tenant, supervisor: Supervisor
) -> None:
    (job_id,) = submit(alice)
    (late,) = claim(lane_of(alice), worker=DEAD)  # the server was still at it

    def is_given_back() -> bool:
        supervisor._settle()
        return Job.objects.get().status == Status.PENDING

    wait_until(is_given_back, 60, "the second pass gives it back")
    assert (row(job_id)["attempt"], row(job_id)["lost_count"]) == (0, 0)
    assert late.fence == row(job_id)["fence"]


def test_what_was_settled_twice_is_let_go(supervisor: Supervisor) -> None:
    (dead,) = supervisor._unsettled

    def is_over() -> bool:
        supervisor._settle()
        return not supervisor._unsettled

    assert not dead.ledger._memory.closed
    wait_until(is_over, 60, "there is no third pass")
    assert dead.ledger._memory.closed


@pytest.mark.parametrize("exit_code", [KILLED, RETIRED])
def test_what_was_asked_to_stop_is_not_replaced_however_it_ended(
    supervisor: Supervisor, exit_code: int
) -> None:
    now = timezone.now()
    told = {"host": "h", "pid": 1, "slots": 4, "started_at": now, "seen_at": now}
    Worker.objects.create(id="asked", asked_to=WorkerRequest.STOP, **told)
    Worker.objects.create(id="not-asked", **told)
    for worker, wanted in (("not-asked", 1), ("asked", 0)):
        ledger = Ledger(10)
        supervisor._bury(module._Alive(worker, ledger, time.monotonic()), exit_code)
        assert supervisor._wanted == wanted
        ledger.close()
