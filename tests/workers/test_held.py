"""Held jobs begin soon after they were claimed, or go back."""

import pytest

from jobs.models import Tenant
from jobs.registry import find
from tests.store.steps import claim_one
from workers.held import MAX_BUFFERED_SECONDS, HeldJob


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
