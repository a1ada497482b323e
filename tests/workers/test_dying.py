"""Processes that die: nothing is lost, nothing is done twice under one fence."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from django.db import connection

from jobs.models import Worker
from tests.harness import WorkerProcess, running_workers, wait_until
from tests.postgres import Server
from tests.workers.conftest import Submit, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

SHORT_LEASE = {"lease_seconds": 3, "heartbeat_seconds": 0.5, "reap_interval_seconds": 0.5}


def test_a_killable_job_that_kills_its_child_is_charged_alone(submit: Submit) -> None:
    poison, mate = submit("die_in_child", max_retries=10), submit("sleep", b'{"seconds": 3}')
    with running_workers(**SHORT_LEASE):
        wait_for(poison, "DLQ", timeout=60)
        wait_for(mate, "DONE")
    assert (poison.reason, poison.lost_count) == ("poison", 3)
    assert (mate.attempt, mate.lost_count) == (1, 0)


def test_a_killed_process_is_settled_at_once_by_its_supervisor(
    submit: Submit, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    job = submit("note_then_sleep", f'{{"path": "{effects}", "seconds": 2}}'.encode())
    with running_workers() as (worker,):  # with the default lease of 30 seconds
        wait_until(effects.exists)
        (child,) = psutil.Process(worker.pid).children()
        child.kill()
        wait_for(job, "DONE", timeout=20)
        assert Worker.objects.filter(stopped_at=None).count() == 1, "nobody shows the dead as live"
    assert (job.lost_count, job.attempt) == (1, 2)


def test_workers_end_when_their_supervisor_is_killed(submit: Submit) -> None:
    job = submit("block_in_c")
    with running_workers("--drain-seconds", "0.2") as (worker,):
        wait_for(job, "RUNNING")
        family = worker.family()
        os.kill(worker.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=15)
        assert not alive


def test_workers_start_when_their_database_does(submit: Submit, postgres_server: Server) -> None:
    job = submit("echo", b"1")
    connection.close()
    postgres_server.stop()
    with WorkerProcess(**SHORT_LEASE) as worker:
        wait_until(lambda: "it is replaced" in worker.output, 30, "a process has died of it")
        postgres_server.start()
        wait_for(job, "DONE", timeout=30)
