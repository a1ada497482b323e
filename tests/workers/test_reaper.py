"""The reaper, and a machine that slept."""

import pytest

from jobs.models import Tenant
from tests.store.steps import claim, claim_one, expire, lane_of, status_of, submit
from workers import reaper as reapers
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


@pytest.mark.django_db
def test_many_jobs_of_the_dead_are_taken_back_without_a_rest(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reapers, "BATCH", 2)
    submit(alice, 5)
    jobs = [job.id for job in claim(lane_of(alice), quota=5)]
    expire(jobs)
    reaper = Reaper("reaper")
    assert [reaper.tick() == 0 for _ in range(3)] == [True, True, False]
    assert {status_of(job) for job in jobs} == {"FAILED"}
