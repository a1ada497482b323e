"""The watchdog stops what is over, and gives up what does not stop."""

import time
from collections.abc import Callable

import pytest

from jobs.conf import conf
from jobs.models import Tenant
from jobs.registry import find
from jobs.statuses import Status
from jobs.store import Outcome
from tests.store.steps import claim_one
from workers.held import HeldJob, HeldJobs, Stop
from workers.watchdog import STUBBORN_SECONDS, Watchdog

pytestmark = pytest.mark.django_db


class Watched:
    """A job that runs under a watchdog, and what that did about it."""

    def __init__(self, held: HeldJob) -> None:
        self.held = held
        self.finished: list[tuple[HeldJob, Outcome | None]] = []
        self.retired = 0
        jobs = HeldJobs(1)
        jobs.add([held])
        self.tick = Watchdog("w", jobs, self._finish, retire=self._retire).tick

    def _finish(self, held: HeldJob, outcome: Outcome | None) -> None:
        self.finished.append((held, outcome))

    def _retire(self) -> None:
        self.retired += 1


@pytest.fixture
def watched(alice: Tenant) -> Watched:
    held = HeldJob(claim_one(alice), find("echo"), time.monotonic())
    assert held.begin()
    return Watched(held)


def test_job_within_its_time_and_its_lease_goes_on(watched: Watched) -> None:
    watched.tick()
    assert watched.held.stop_reason is None


def run_too_long(held: HeldJob) -> None:
    held.started_at = time.monotonic() - held.timeout_seconds - 1


def lose_touch(held: HeldJob) -> None:
    held.leased_at -= conf().lease_seconds + 1


@pytest.mark.parametrize(
    ("happen", "reason"), [(run_too_long, Stop.TIMEOUT), (lose_touch, Stop.LOST)]
)
def test_job_is_stopped_when_its_time_or_its_lease_is_over(
    watched: Watched, happen: Callable[[HeldJob], None], reason: Stop
) -> None:
    happen(watched.held)
    watched.tick()
    assert watched.held.stop_reason is reason
    assert (watched.finished, watched.retired) == ([], 0), "it has time to stop"


def ignore_the_stop(watched: Watched) -> None:
    assert watched.held.stopped_at is not None
    watched.held.stopped_at -= STUBBORN_SECONDS + 1


def test_job_that_ignores_its_stop_is_finished_once_and_its_process_retires_once(
    watched: Watched,
) -> None:
    run_too_long(watched.held)
    watched.tick()
    ignore_the_stop(watched)
    watched.tick()
    watched.tick()
    ((_, outcome),) = watched.finished
    assert outcome is not None
    assert outcome.status is Status.FAILED
    assert watched.retired == 1


def test_stubborn_job_whose_lease_was_lost_is_let_go_without_an_outcome(watched: Watched) -> None:
    lose_touch(watched.held)
    watched.tick()
    ignore_the_stop(watched)
    watched.tick()
    assert watched.finished == [(watched.held, None)]


def test_job_that_stopped_is_not_given_up_while_its_outcome_waits_to_be_recorded(
    watched: Watched,
) -> None:
    run_too_long(watched.held)
    watched.tick()
    watched.held.uninterruptible()
    ignore_the_stop(watched)  # for so long nothing could be recorded
    watched.tick()
    assert (watched.finished, watched.retired) == ([], 0)


def test_job_that_never_started_is_not_given_up_while_it_waits_to_go_back(alice: Tenant) -> None:
    watched = Watched(HeldJob(claim_one(alice), find("echo"), time.monotonic()))
    assert watched.held.withdraw()
    lose_touch(watched.held)  # for so long nothing could be released
    watched.tick()
    watched.held.stop(Stop.LOST)
    ignore_the_stop(watched)
    watched.tick()
    assert (watched.finished, watched.retired) == ([], 0)
