"""Children that run killable jobs, one after the other."""

import time

import pytest

from jobs.models import Tenant
from jobs.registry import find
from jobs.statuses import Status
from jobs.store import Outcome
from tests.store.steps import claim_one, outcome
from workers import children
from workers.children import Child, Children
from workers.held import HeldJob, Stop

pytestmark = pytest.mark.django_db


class PretendedChild(Child):
    """Answers at once; a stop comes when the answer is on its way, and ends it in a moment."""

    def __init__(self, worker: str) -> None:
        self.is_killed = False

    def run(self, held: HeldJob) -> Outcome | None:
        if self.is_killed:
            return None
        held.stop(Stop.TIMEOUT)
        return outcome(held.job, Status.DONE)

    def is_alive(self) -> bool:
        return True

    def kill(self) -> None:
        self.is_killed = True

    def bury(self) -> None:
        self.kill()


def test_child_that_was_killed_as_its_job_ended_gets_no_other(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "Child", PretendedChild)
    family = Children("w")
    for _ in range(2):
        held = HeldJob(claim_one(alice), find("echo"), time.monotonic())
        ended = family.run(held)
        assert ended is not None
        assert ended.status is Status.DONE, "what it had done counts"
    assert family._idle == []
    assert not family._all
