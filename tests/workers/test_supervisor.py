"""The supervisor settles what a dead process held, and looks once more for what came late."""

import itertools
import signal
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
from workers.process import ABORT_SIGNAL, DRAIN_SIGNAL, RETIRED, Options
from workers.supervisor import Supervisor

pytestmark = pytest.mark.django_db
DEAD, KILLED = "dead-worker", -9


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """One of a process that has just been killed, whose jobs it has settled for the first time."""
    options = Options(concurrency=4, queues=frozenset(), tags=frozenset(), drain_seconds=600)
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


def test_process_that_dies_again_and_again_is_started_less_and_less_often(
    supervisor: Supervisor,
) -> None:
    def wait_after(lived_seconds: float) -> float:
        now, ledger = time.monotonic(), Ledger(1)
        supervisor._bury(module._Alive("short-lived", ledger, now - lived_seconds), KILLED)
        ledger.close()
        return supervisor._restart_at - now

    waits = [wait_after(0) for _ in range(10)]
    assert all(later > 1.5 * sooner for sooner, later in itertools.pairwise(waits[:6]))
    assert waits[-1] <= module.MAX_RESTART_SECONDS + 1
    assert wait_after(module.STABLE_SECONDS + 1) < waits[0]


def test_second_signal_aborts_once_and_allows_less_time(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(supervisor, "_send", sent.append)
    for signals, so_far in (
        (0, []),
        (1, [DRAIN_SIGNAL]),
        (2, [DRAIN_SIGNAL, ABORT_SIGNAL]),
        (3, [DRAIN_SIGNAL, ABORT_SIGNAL]),
    ):
        supervisor._signals = signals
        supervisor._pass_on()
        assert sent == so_far
        if signals == 1:
            drained_by = supervisor._kill_at
    assert drained_by is not None
    assert supervisor._kill_at is not None
    assert supervisor._kill_at < drained_by
    supervisor._insist()
    assert sent[2:] == [], "they have time to end"
    supervisor._kill_at = time.monotonic() - 1
    supervisor._insist()
    assert sent[2:] == [signal.SIGKILL]
