"""Held jobs begin soon after they were claimed, or go back."""

import pytest

from jobs.models import Tenant
from jobs.registry import find
from tests.store.steps import claim_one
from workers.held import MAX_BUFFERED_SECONDS, HeldJob, Stop


@pytest.fixture
def held(db: None, alice: Tenant) -> HeldJob:
    """A job that was claimed just now."""
    return HeldJob(claim_one(alice), find("echo"), 0)


def test_job_that_waited_too_long_for_its_start_never_begins(held: HeldJob) -> None:
    held.claimed_at -= MAX_BUFFERED_SECONDS
    assert not held.begin()
    assert held.is_stale(held.claimed_at + MAX_BUFFERED_SECONDS + 0.01)
    assert held.withdraw(), "it can be given back"
    assert not held.begin()


def test_job_that_has_begun_is_not_too_late_however_long_it_runs(held: HeldJob) -> None:
    held.claimed_at += 3_600  # the machine may have stood still before this test went on
    assert held.begin()
    held.claimed_at -= 7_200
    assert not held.is_stale(held.claimed_at + 3_600)
    assert not held.withdraw()


def test_job_that_was_withdrawn_never_begins(held: HeldJob) -> None:
    assert held.withdraw()
    held.claimed_at += 3_600  # however long that takes here, it is not too late for it
    assert not held.begin()


def test_first_reason_to_stop_counts(held: HeldJob) -> None:
    halted: list[Stop] = []
    assert held.begin()
    held.interruptible(halted.append)
    for reason in (Stop.CANCELLED, Stop.LOST, Stop.DRAIN):
        held.stop(reason)
    assert (held.stop_reason, halted) == (Stop.CANCELLED, [Stop.CANCELLED])


def test_job_that_was_stopped_before_its_code_can_be_is_stopped_as_soon_as_that(
    held: HeldJob,
) -> None:
    halted: list[Stop] = []
    assert held.begin()
    held.stop(Stop.TIMEOUT)
    held.interruptible(halted.append)
    assert halted == [Stop.TIMEOUT]
