"""The heartbeat tells that the process is there."""

import pytest
from django.utils import timezone

from jobs.models import Worker
from jobs.statuses import WorkerRequest
from tests.harness import running_workers, wait_until
from workers.heartbeat import Heartbeat
from workers.held import HeldJobs


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
