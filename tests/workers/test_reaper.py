"""The reaper, and a machine that slept."""

import pytest

from jobs.models import Tenant
from tests.store.steps import claim_one, expire, status_of
from workers.reaper import Reaper


@pytest.mark.django_db
def test_after_the_machine_slept_holders_have_time_for_a_heartbeat(alice: Tenant) -> None:
    job, reaper = claim_one(alice), Reaper("reaper")
    reaper.tick()
    expire([job.id])
    reaper._looked_at -= 3_600
    reaper.tick()
    assert status_of(job.id) == "RUNNING"
    reaper.tick()
    assert status_of(job.id) == "FAILED"
