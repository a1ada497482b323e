"""How much a process claims in advance, and what becomes of it."""

import uuid

import pytest

from jobs.store import ClaimedJob
from jobs.tasks import echo
from workers.held import HeldJob, HeldJobs, Stop
from workers.pace import Pace

SLOTS = 10


def held(*, started_at: float | None = None, ended_at: float | None = None) -> HeldJob:
    """A job that this process holds."""
    job = ClaimedJob(
        uuid.uuid4(), 1, "alice", 1, 1, 1, "default", "echo", b"null", False, 0, 1, 3, 0, None, 0, 0
    )  # fmt: skip
    one = HeldJob(job, echo, 0)
    one.started_at, one.ended_at = started_at, ended_at
    return one


def after(ended: list[HeldJob], running: list[HeldJob], *, now: float, times: int = 50) -> int:
    """The buffer once the pace has seen these jobs so many times."""
    pace = Pace()
    for _ in range(times):
        pace.note(ended, running, now)
    return pace.buffer(SLOTS)


def test_jobs_over_in_a_moment_are_claimed_far_in_advance() -> None:
    assert after([held(started_at=1, ended_at=1.0001)] * 100, [], now=2) == 1_000


def test_long_jobs_are_not() -> None:
    assert after([held(started_at=1, ended_at=9)] * 100, [], now=9) == 0


def test_long_jobs_are_noticed_before_they_end() -> None:
    """Else as many as were short before would be claimed and given back for ever."""
    assert after([], [held(started_at=1)] * SLOTS, now=5) == 0


@pytest.mark.parametrize("reason", [Stop.TIMEOUT, Stop.LOST])
def test_job_whose_code_has_ended_is_stopped_by_nothing(reason: Stop) -> None:
    """Its outcome waits to be recorded, for as long as the database is away."""
    one = held(started_at=1)
    one.uninterruptible()
    one.stop(reason)
    assert one.stop_reason is None


def test_jobs_that_have_left_are_charged_once() -> None:
    jobs = HeldJobs(SLOTS)
    one = held(started_at=1, ended_at=2)
    jobs.add([one])
    jobs.remove([one])
    assert jobs.to_be_charged() == ([], [one])
    assert jobs.to_be_charged() == ([], [])
    assert one.more_turns(now=9) == pytest.approx(99)
    assert one.more_turns(now=9) == 0
