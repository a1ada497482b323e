"""The overview names jobs that no live worker can take, and says what is missing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from dashboard.queries.board import Board
from dashboard.scope import PageScope
from jobs import services
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def a_worker(**fields: Any) -> Worker:
    """A live worker that knows `echo`."""
    now = timezone.now()
    usual = {"tasks": ["echo"], "slots": 4, "started_at": now, "seen_at": now}
    return Worker.objects.create(id=f"w{Worker.objects.count()}", host="h", pid=1, **usual | fields)


def waiting(tenant: Tenant, **fields: Any) -> Job:
    """A job that has been ready for a minute."""
    job = make_job(tenant, **fields)
    Job.objects.filter(pk=job.pk).update(run_at=F("run_at") - timedelta(minutes=1))
    return job


def told(*tenants: Tenant) -> dict[tuple[str, str], int]:
    """How many wait for which worker, by queue and code."""
    found = Board(PageScope(None, tenants, None)).unserved()
    return {(one.lane.queue, one.gate.code): one.waiting for one in found}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"queue": "mail"}, "no_worker"),
        ({"worker_tags": ("gpu",)}, "no_worker_with_tags"),
        ({"task": "strange"}, "no_worker_for_task"),
    ],
)
def test_what_the_workers_lack_is_told(alice: Tenant, fields: dict[str, Any], code: str) -> None:
    a_worker(queues=["default"], tags=["linux"])
    job = waiting(alice, **fields)
    assert told(alice) == {(job.queue, code): 1}


def test_jobs_that_a_worker_takes_are_no_concern(alice: Tenant) -> None:
    a_worker(tags=["gpu", "linux"])
    waiting(alice, worker_tags=("gpu",))
    assert told(alice) == {}


def test_workers_of_other_tenants_and_silent_ones_do_not_count(
    alice: Tenant, mallory: Tenant
) -> None:
    a_worker(tenant=mallory)
    a_worker(is_draining=True)
    a_worker(seen_at=timezone.now() - timedelta(hours=1))
    waiting(alice)
    assert told(alice) == {("default", "no_worker"): 1}


def test_lines_that_lack_the_same_are_told_together(alice: Tenant) -> None:
    a_worker()
    for task in ("echo", "sleep", "sleep"):
        waiting(alice, task=task, worker_tags=("gpu",))
    waiting(alice, task="echo", worker_tags=("ssd",))
    found = Board(PageScope(None, (alice,), None)).unserved()
    assert sorted((one.worker_tags, one.waiting) for one in found) == [("gpu", 3), ("ssd", 1)]


def test_lane_that_runs_others_is_told_all_the_same(alice: Tenant) -> None:
    a_worker()
    make_job(alice, Status.RUNNING)
    waiting(alice, worker_tags=("gpu",))
    assert told(alice) == {("default", "no_worker_with_tags"): 1}


def test_line_that_runs_has_a_worker_that_drains(alice: Tenant) -> None:
    make_job(alice, Status.RUNNING)
    waiting(alice)
    assert told(alice) == {}


def test_what_is_new_paused_or_switched_off_is_no_concern(
    alice: Tenant, mallory: Tenant, make_tenant: Callable[..., Tenant]
) -> None:
    off = make_tenant("off")
    make_job(alice)
    waiting(mallory)
    waiting(off)
    services.set_queue_paused(mallory, "default", paused=True, actor="command:test")
    services.change_limits(off, actor="command:test", is_active=False)
    off.refresh_from_db()
    assert told(alice, mallory, off) == {}


def test_page_says_what_is_missing_and_how_to_start_it(operator: Client, alice: Tenant) -> None:
    a_worker()
    waiting(alice, queue="video", worker_tags=("gpu",))
    page = operator.get(reverse("overview")).content.decode()
    assert "1 waiting</a>. No live worker with the tag gpu serves the queue" in page
    assert "runworkers --queues video --tags gpu</code>" in page


def test_page_names_no_command_for_a_task_that_nobody_knows(
    operator: Client, alice: Tenant
) -> None:
    a_worker()
    waiting(alice, task="strange")
    page = operator.get(reverse("overview")).content.decode()
    assert "knows the task &#x27;strange&#x27;." in page
    assert "runworkers --queues default" not in page


@pytest.mark.parametrize(
    "fields", [{"worker_tags": ("gpu",)}, {"task": "remote:resize"}, {"task": "strange"}]
)
def test_the_page_of_queues_says_the_same(
    ann: Client, alice: Tenant, fields: dict[str, Any]
) -> None:
    a_worker()
    waiting(alice, queue="mixed", **fields)
    waiting(alice, queue="fine")
    (one,) = Board(PageScope(None, (alice,), None)).unserved()

    page = ann.get(reverse("queues"), {"state": "no worker"})

    assert [row.lane.queue for row, _ in page.context["queue_list"]["rows"]] == ["mixed"]
    assert "not for all" in page.text
    assert escape(one.gate.text) in page.text


def test_for_remote_tasks_a_worker_over_rest_is_advised(operator: Client, alice: Tenant) -> None:
    waiting(alice, queue="mass", task="remote:resize")
    waiting(alice, queue="mail")

    for page in (operator.get("/").text, operator.get(reverse("queues")).text):
        assert "a worker over REST" in page
        assert "runworkers --queues mail</code>" in page
        assert "runworkers --queues mass" not in page


def test_one_line_says_that_every_worker_is_quiet(
    ann: Client, operator: Client, alice: Tenant
) -> None:
    told = "Every worker is quiet: nothing starts."
    a_worker(is_draining=True, asked_to="quiet")
    a_worker(stopped_at=timezone.now())
    waiting(alice)
    assert operator.get("/").text.count(told) == ann.get("/").text.count(told) == 1

    a_worker()
    assert told not in operator.get("/").text


def test_no_other_worker_is_advised_while_every_worker_is_quiet(
    operator: Client, alice: Tenant
) -> None:
    a_worker(is_draining=True, asked_to="quiet", queues=["mail"])
    waiting(alice, queue="mass")
    page = operator.get("/").text
    assert "Every worker is quiet" in page
    assert "runworkers --queues" not in page
