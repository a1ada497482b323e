"""Jobs run to their end, in worker processes as they are in production."""

import json
import time

import pytest
from django.db.models import Sum

from jobs import services
from jobs.models import Attempt, LaneMinute, Tenant, WaitMinute
from jobs.store.minutes import EVERYBODY
from tests.harness import running_workers, wait_until
from tests.workers.conftest import Submit, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_payload_comes_back_byte_for_byte_from_echo(submit: Submit) -> None:
    payload = b'{"z": 1.10, "a": [1e2, 123456789012345678901234567890], "t": "\xc3\xa9\\u00e9"}'
    job = submit("echo", payload)
    with running_workers():
        assert bytes(wait_for(job, "DONE").result) == payload


def test_sync_async_and_killable_tasks_run_side_by_side(submit: Submit) -> None:
    jobs = [
        submit("sleep", b'{"seconds": 0.1}'),
        submit("add_killably", b'{"a": 1, "b": 2}'),
        submit("fail_then_succeed", b'{"times": 2}'),
    ]
    with running_workers():
        results = [json.loads(bytes(wait_for(job, "DONE").result)) for job in jobs]
    assert results == [0.1, 3, 3]
    assert Attempt.objects.filter(job=jobs[2]).count() == 2


def test_asynchronous_jobs_wait_together(submit: Submit) -> None:
    jobs = [submit("sleep", b'{"seconds": 1}') for _ in range(50)]
    with running_workers("--concurrency", "50"):
        done = [wait_for(job, "DONE") for job in jobs]
    spread = max(job.finished_at for job in done) - min(job.started_at for job in done)
    assert spread.total_seconds() < len(jobs)  # one after the other sleep longer


def test_a_task_decides_by_what_it_raises(submit: Submit) -> None:
    endings = {
        "discard": ("DLQ", "not_retryable", 1),
        "cancel": ("CANCELLED", "", 0),
        "exit": ("DLQ", "retries_exhausted", 2),
        "retry": ("DLQ", "retries_exhausted", 2),
        "unstorable": ("DLQ", "not_retryable", 1),
        "large": ("DLQ", "not_retryable", 1),
        "nul": ("DLQ", "retries_exhausted", 2),
    }
    jobs = {
        how: submit("decide", json.dumps({"how": how}).encode(), max_retries=1) for how in endings
    }
    with running_workers(promote_interval_seconds=0.05):
        for job in jobs.values():
            wait_for(job, "DLQ", "CANCELLED")
    assert {
        how: (job.status, job.reason, job.attempts.count()) for how, job in jobs.items()
    } == endings
    assert all(attempt.traceback for attempt in Attempt.objects.all())


def test_jobs_of_an_unknown_task_are_left_alone_unspent(submit: Submit) -> None:
    strange, known = submit("nobody.knows.this"), submit("echo", b"1")
    with running_workers() as (worker,):
        wait_for(known, "DONE")
        wait_until(lambda: "unknown task" in worker.output, what="the worker says so")
        wait_for(strange, "PENDING")
    assert strange.attempt == 0


def test_a_worker_of_one_queue_leaves_the_others_alone(submit: Submit) -> None:
    here, there = submit("echo", queue="here"), submit("echo", queue="there")
    with running_workers("--queues", "here"):
        wait_for(here, "DONE")
    there.refresh_from_db()
    assert there.status == "PENDING"


def test_a_scheduled_job_starts_after_its_time(submit: Submit) -> None:
    job = submit("echo", delay_seconds=1.0)
    with running_workers():
        wait_for(job, "DONE")
    assert job.started_at >= job.run_at


def test_an_idle_worker_is_woken_by_a_submission(submit: Submit) -> None:
    by_itself = {"poll_interval_seconds": 600, "heartbeat_seconds": 200, "lease_seconds": 600}
    with running_workers(**by_itself):  # it would look too late
        wait_for(submit("echo"), "DONE")
        time.sleep(0.5)  # what it does after a job is over
        wait_for(submit("echo"), "DONE")


def test_the_minutes_add_up_to_what_happened(submit: Submit) -> None:
    jobs = [submit("echo") for _ in range(30)] + [submit("decide", b'{"how": "discard"}')]
    waits = WaitMinute.objects.order_by().values_list("tenant_id").annotate(Sum("attempts"))
    expected = {EVERYBODY: 31, jobs[0].tenant_id: 31}
    with running_workers():
        for job in jobs:
            wait_for(job, "DONE", "DLQ")
        wait_until(lambda: dict(waits.all()) == expected, what="the waits are written")
    minutes = LaneMinute.objects.values_list("done", "dead", "started")
    assert tuple(map(sum, zip(*minutes, strict=True))) == (30, 1, 31)


def test_a_paused_queue_starts_nothing_until_it_is_resumed(submit: Submit, alice: Tenant) -> None:
    first = submit("echo")
    with running_workers():
        wait_for(first, "DONE")
        services.set_queue_paused(alice, "default", paused=True, actor="command:test")
        held_up, elsewhere = submit("echo"), submit("echo", queue="other")
        wait_for(elsewhere, "DONE")
        held_up.refresh_from_db()
        assert held_up.status == "PENDING"
        services.set_queue_paused(alice, "default", paused=False, actor="command:test")
        wait_for(held_up, "DONE")
