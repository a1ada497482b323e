"""Jobs that have to stop: timeouts, cancellations, drains."""

import signal

import pytest

from jobs import services
from jobs.models import Worker
from tests.harness import running_workers, wait_until
from tests.workers.conftest import Submit, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("task", ["spin", "wait_forever", "block_in_c"])
def test_a_timeout_stops_the_job_and_frees_its_slot(submit: Submit, task: str) -> None:
    job = submit(task, timeout_seconds=0.3, max_retries=0)
    after = submit("echo")
    with running_workers("--concurrency", "1"):
        wait_for(job, "DLQ")
        wait_for(after, "DONE")
    assert job.error_type == "jobs.errors.JobTimeout"
    assert job.error_message == "The job ran for longer than its 0.3 seconds."
    assert [attempt.outcome for attempt in job.attempts.all()] == ["timed_out"]


@pytest.mark.parametrize("task", ["spin", "wait_forever", "block_in_c"])
def test_a_cancelled_job_stops_at_the_next_heartbeat(submit: Submit, task: str) -> None:
    job = submit(task)
    with running_workers(heartbeat_seconds=0.2):
        wait_for(job, "RUNNING")
        services.cancel(job, actor="command:test")
        wait_for(job, "CANCELLED")


def test_a_job_that_ignores_its_timeout_costs_its_process_and_not_the_queue(
    submit: Submit,
) -> None:
    job = submit("ignore_stops", timeout_seconds=0.2, max_retries=0)
    with running_workers("--drain-seconds", "1") as (worker,):
        (first,) = worker.worker_ids()
        wait_for(job, "DLQ")
        assert job.error_type == "jobs.errors.JobTimeout"
        wait_for(submit("echo"), "DONE")
        wait_until(lambda: first not in worker.worker_ids(), what="the process is replaced")


def test_a_drain_lets_running_jobs_finish(submit: Submit) -> None:
    job = submit("sleep", b'{"seconds": 1}')
    with running_workers("--drain-seconds", "10") as (worker,):
        wait_for(job, "RUNNING")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
    wait_for(job, "DONE")
    assert not Worker.objects.filter(stopped_at=None).exists()


@pytest.mark.parametrize("task", ["spin", "wait_forever", "block_in_c"])
def test_a_drain_that_runs_out_of_time_gives_jobs_back_unspent(submit: Submit, task: str) -> None:
    job = submit(task)
    with running_workers("--drain-seconds", "0.3") as (worker,):
        wait_for(job, "RUNNING")
        worker.send(signal.SIGINT)
        assert worker.wait() == 0
    job.refresh_from_db()
    assert (job.status, job.attempt, job.attempts.count()) == ("PENDING", 0, 0)


def test_a_second_signal_aborts_the_drain(submit: Submit) -> None:
    job = submit("spin")
    with running_workers("--drain-seconds", "60") as (worker,):
        wait_for(job, "RUNNING")
        worker.send(signal.SIGTERM)
        wait_until(lambda: "draining" in worker.output, what="the worker drains")
        worker.send(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("PENDING", 0)


def test_a_drain_returns_what_had_not_started(submit: Submit) -> None:
    running = submit("sleep", b'{"seconds": 0.5}')
    with running_workers("--concurrency", "1") as (worker,):
        wait_for(running, "RUNNING")
        waiting = [submit("sleep", b'{"seconds": 0.5}') for _ in range(5)]
        worker.send(signal.SIGTERM)
        worker.wait()
    for job in waiting:
        job.refresh_from_db()
    assert {job.status for job in waiting} <= {"PENDING", "DONE"}
    assert all(job.attempt == (job.status == "DONE") for job in waiting)


def test_a_signal_to_the_whole_group_drains_and_does_not_abort(submit: Submit) -> None:
    job = submit("sleep", b'{"seconds": 2}')
    killable = submit("nap_killably", b'{"seconds": 2}')
    with running_workers("--drain-seconds", "15") as (worker,):
        wait_for(job, "RUNNING")
        wait_for(killable, "RUNNING")
        for process in worker.family():
            process.terminate()
        assert worker.wait(timeout=25) == 0
    wait_for(job, "DONE")
    wait_for(killable, "DONE")
    assert job.attempt == killable.attempt == 1
