"""What people ask a worker process to do on the pages, it does with its next heartbeat."""

from functools import partial

import pytest

from jobs.errors import StatusConflict
from jobs.models import AuditEntry, Worker
from jobs.statuses import WorkerRequest
from jobs.worker_requests import ask_worker
from tests.harness import running_workers, wait_until
from tests.workers.conftest import Submit, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = "user:olga"


def heard_again(worker: Worker) -> bool:
    """Whether the process has been heard of since the worker was read."""
    return Worker.objects.get(pk=worker.pk).seen_at > worker.seen_at


def test_a_quiet_worker_finishes_takes_nothing_and_goes_on_when_told(submit: Submit) -> None:
    begun = submit("sleep", b'{"seconds": 3}')
    with running_workers(heartbeat_seconds=0.2, poll_interval_seconds=0.1) as (process,):
        wait_for(begun, "RUNNING", timeout=60)
        worker = Worker.objects.get(pk__in=process.worker_ids())
        assert worker.version
        assert worker.python_version
        ask_worker(worker, WorkerRequest.QUIET, actor=ACTOR)
        wait_until(lambda: Worker.objects.get().is_draining, 60, "it is quiet")
        after = submit("echo")
        wait_for(begun, "DONE", timeout=60)
        for _ in range(3):
            worker.refresh_from_db()
            wait_until(partial(heard_again, worker), 60, "it beats")
        after.refresh_from_db()
        assert after.status == "PENDING"
        ask_worker(worker, None, actor=ACTOR)
        wait_for(after, "DONE", timeout=60)
        assert not Worker.objects.get().is_draining
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "target")) == [
        ("quiet_worker", worker.pk),
        ("resume_worker", worker.pk),
    ]


def test_a_worker_that_is_asked_to_stop_finishes_and_is_not_replaced(submit: Submit) -> None:
    job = submit("sleep", b'{"seconds": 3}')
    with running_workers("--processes", "2", heartbeat_seconds=0.2) as (supervisor,):
        wait_until(lambda: len(supervisor.worker_ids()) == 2, 60, "both are there")
        wait_for(job, "RUNNING", timeout=60)
        busy = Worker.objects.get(pk=job.worker)
        idle = Worker.objects.exclude(pk=job.worker).get()
        ask_worker(busy, WorkerRequest.STOP, actor=ACTOR)
        wait_for(job, "DONE", timeout=60)
        wait_until(lambda: Worker.objects.get(pk=busy.pk).stopped_at, 60, "it has stopped")
        assert job.attempt == 1
        wait_for(submit("echo"), "DONE", timeout=60)
        with pytest.raises(StatusConflict):
            ask_worker(busy, WorkerRequest.QUIET, actor=ACTOR)
        ask_worker(idle, WorkerRequest.STOP, actor=ACTOR)
        assert supervisor.wait(60) == 0
    assert set(Worker.objects.values_list("pk", flat=True)) == {busy.pk, idle.pk}
    assert not Worker.objects.filter(stopped_at=None).exists()
