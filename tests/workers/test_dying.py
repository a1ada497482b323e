"""Processes that die: nothing is lost, nothing is done twice under one fence."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from django.db import connection

from jobs import store
from jobs.models import Attempt, Job, Tenant
from tests.harness import WorkerProcess, running_workers, wait_until
from tests.postgres import Server
from tests.workers.conftest import Submit, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

SHORT_LEASE = {"lease_seconds": 3, "heartbeat_seconds": 0.5, "reap_interval_seconds": 0.5}


def test_a_job_that_kills_its_process_three_times_is_poison_and_costs_its_mates_nothing(
    submit: Submit,
) -> None:
    mates = [submit("sleep", b'{"seconds": 0.01}') for _ in range(20)]
    poison = submit("kill_worker", max_retries=10)
    mates += [submit("echo") for _ in range(20)]
    with running_workers(**SHORT_LEASE):
        wait_for(poison, "DLQ", timeout=60)
        for job in mates:
            wait_for(job, "DONE", timeout=30)
    assert (poison.reason, poison.lost_count, poison.attempts.count()) == ("poison", 3, 3)
    assert Attempt.objects.exclude(job=poison).exclude(outcome="lost").count() == 0
    assert sum(job.lost_count for job in mates) <= 3 * 4, "only those that were running with it"


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
    assert (job.lost_count, job.attempt) == (1, 2)


def test_jobs_of_a_machine_that_lost_its_power_run_again_after_their_leases(
    submit: Submit, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    payload = f'{{"path": "{effects}", "seconds": 0.05}}'.encode()
    jobs = [submit("slow_note", payload) for _ in range(60)]
    with running_workers(count=2, **SHORT_LEASE) as (first, _):
        wait_until(lambda: Job.objects.filter(status="DONE").count() >= 5, what="some are done")
        first.kill()
        for job in jobs:
            wait_for(job, "DONE", timeout=30)
    runs = Counter(effects.read_text().splitlines())
    assert len({line.split()[0] for line in runs}) == len(jobs), "every job ran"
    assert max(runs.values()) == 1, "and none twice under one fence"


def test_a_frozen_worker_cannot_finish_what_another_has_taken_over(
    submit: Submit, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    job = submit("slow_note", f'{{"path": "{effects}", "seconds": 1}}'.encode())
    with running_workers(**SHORT_LEASE) as (frozen,):
        wait_for(job, "RUNNING")
        family = frozen.family()
        for process in family:
            process.suspend()
        with running_workers(**SHORT_LEASE):
            wait_for(job, "DONE", timeout=30)
            winner = job.worker, job.fence, job.finished_at
            for process in family:
                process.resume()
            wait_until(lambda: "the lease was lost" in frozen.output, what="it learns of it")
    job.refresh_from_db()
    assert (job.worker, job.fence, job.finished_at) == winner
    assert job.attempts.count() == 1


def test_workers_end_when_their_supervisor_is_killed(submit: Submit) -> None:
    job = submit("block_in_c")
    with running_workers("--drain-seconds", "0.2") as (worker,):
        wait_for(job, "RUNNING")
        family = worker.family()
        os.kill(worker.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=15)
        assert not alive


def test_a_limit_holds_with_four_processes_at_every_instant(alice: Tenant, submit: Submit) -> None:
    Tenant.objects.filter(pk=alice.pk).update(max_running=5)
    alice.refresh_from_db()
    jobs = [submit("sleep", b'{"seconds": 0.05}') for _ in range(100)]
    seen = 0
    with running_workers("--processes", "4"):
        while Job.objects.exclude(status="DONE").exists():
            seen = max(seen, Job.objects.filter(status="RUNNING").count())
            time.sleep(0.002)
    assert seen <= 5
    assert most_at_once(jobs) <= 5


def most_at_once(jobs: list[Job]) -> int:
    """The largest number of leases that overlapped, by the times that were recorded."""
    finished = Job.objects.in_bulk([job.pk for job in jobs]).values()
    changes = [(job.started_at, 1) for job in finished] + [
        (job.finished_at, -1) for job in finished
    ]
    running = highest = 0
    for _, change in sorted(changes):
        running += change
        highest = max(highest, running)
    return highest


def test_a_restarted_database_loses_and_doubles_nothing(
    submit: Submit, tmp_path: Path, postgres_server: Server
) -> None:
    effects = tmp_path / "effects"
    payload = f'{{"path": "{effects}", "seconds": 0.02}}'.encode()
    jobs = [submit("slow_note", payload) for _ in range(300)]
    with running_workers("--processes", "2", **SHORT_LEASE):
        wait_until(lambda: Job.objects.filter(status="DONE").count() > 30, what="some are done")
        connection.close()
        postgres_server.stop(immediate=True)
        time.sleep(1)  # the outage itself: workers fail to reach the server meanwhile
        postgres_server.start()
        wait_until(
            lambda: Job.objects.filter(status="DONE").count() == len(jobs), 40, "all are done"
        )
    runs = Counter(effects.read_text().splitlines())
    assert max(runs.values()) == 1
    assert (
        Job.objects.filter(attempt__gt=1).count()
        == Attempt.objects.values("job").distinct().count()
    )
    assert store.ready_lanes() == []


def test_workers_start_when_their_database_does(submit: Submit, postgres_server: Server) -> None:
    job = submit("echo", b"1")
    connection.close()
    postgres_server.stop()
    with WorkerProcess(**SHORT_LEASE) as worker:
        wait_until(lambda: "it is replaced" in worker.output, 30, "a process has died of it")
        postgres_server.start()
        wait_for(job, "DONE", timeout=30)
