"""The heartbeat tells that the process is there, and learns what became of its leases."""

import time
import uuid
from collections.abc import Sequence

import pytest
from django.utils import timezone

from jobs import store
from jobs.models import Tenant, Worker
from jobs.registry import find
from jobs.statuses import WorkerRequest
from tests.harness import running_workers, wait_until
from tests.store.steps import claim, claim_one, expire, lane_of, no_delay
from workers.heartbeat import Heartbeat
from workers.held import HeldJob, HeldJobs, Stop

LONG_AGO = -1_000.0


@pytest.mark.django_db(transaction=True)
def test_worker_that_was_taken_for_gone_announces_itself_again() -> None:
    with running_workers(heartbeat_seconds=0.5) as (worker,):
        (worker_id,) = worker.worker_ids()
        Worker.objects.all().delete()
        wait_until(lambda: worker.worker_ids() == [worker_id], 60, "it is there again")


@pytest.mark.django_db
def test_worker_that_announces_itself_again_stays_quiet() -> None:
    def register() -> None:
        now = timezone.now()
        Worker.objects.create(id="w", host="h", pid=1, slots=1, started_at=now, seen_at=now)

    heard: list[str] = []
    beat = Heartbeat("w", HeldJobs(1), register=register, obey=heard.append)
    register()
    Worker.objects.update(asked_to=WorkerRequest.QUIET)
    beat.tick()
    Worker.objects.all().delete()
    beat.tick()
    assert heard == [WorkerRequest.QUIET]
    worker = Worker.objects.get()
    assert (worker.asked_to, worker.is_draining) == (WorkerRequest.QUIET, True)


def hold(*jobs: store.ClaimedJob) -> list[HeldJob]:
    """These jobs, held since long ago."""
    return [HeldJob(job, find("echo"), LONG_AGO) for job in jobs]


def beat(held: Sequence[HeldJob]) -> None:
    jobs = HeldJobs(10)
    jobs.add(held)
    Heartbeat("w", jobs, register=lambda: None, obey=lambda asked_to: None).tick()


@pytest.mark.django_db
def test_each_job_learns_whether_its_lease_lasts_was_lost_or_is_to_end(alice: Tenant) -> None:
    kept, lost, cancelled = hold(claim_one(alice), claim_one(alice), claim_one(alice))
    expire([lost.job.id])
    store.reap("reaper", no_delay)
    store.cancel([cancelled.job.id])
    beat([kept, lost, cancelled])
    assert [one.stop_reason for one in (kept, lost, cancelled)] == [None, Stop.LOST, Stop.CANCELLED]
    assert kept.leased_at > LONG_AGO
    assert lost.leased_at == LONG_AGO


@pytest.mark.django_db
def test_of_two_leases_on_one_job_the_earlier_is_lost(alice: Tenant) -> None:
    """It was given back, and claimed by this very process before it had let go of it."""
    first = claim_one(alice)
    store.release([store.Lease(first.id, first.fence)])
    (second,) = claim(lane_of(alice))
    earlier, later = hold(first, second)
    beat([later, earlier])
    assert (earlier.stop_reason, later.stop_reason) == (Stop.LOST, None)
    assert earlier.leased_at == LONG_AGO


@pytest.mark.django_db
def test_lease_that_could_not_be_extended_now_is_neither_lost_nor_longer(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    (held,) = hold(claim_one(alice))
    monkeypatch.setattr(store, "extend", lambda leases, **how: {held.job.id: None})
    beat([held])
    assert (held.stop_reason, held.leased_at) == (None, LONG_AGO)


@pytest.mark.django_db
def test_lease_counts_from_before_it_was_asked_for(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the answer takes: another may have the job as soon as the lease is over."""
    (held,), asked_at = hold(claim_one(alice)), []

    def answer_late(leases: object, **how: object) -> dict[uuid.UUID, bool]:
        asked_at.append(time.monotonic())
        wait_until(lambda: time.monotonic() > asked_at[0], what="time has passed")
        return {held.job.id: False}

    monkeypatch.setattr(store, "extend", answer_late)
    beat([held])
    assert LONG_AGO < held.leased_at <= asked_at[0]
