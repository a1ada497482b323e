"""Tasks of tenants' own workers: anybody's to submit, nothing of ours to import or to run."""

import sys

import pytest

from jobs.errors import UnknownTask
from jobs.models import Tenant
from jobs.registry import QueueTask, find, find_for_tenant, is_for_tenants
from jobs.remote import LeftToOthers
from jobs.store import ready_lanes
from jobs.tasksapi import InvalidTask
from tests.factories import make_job


def test_a_remote_task_needs_no_deployment() -> None:
    task = find_for_tenant("remote:resize")
    assert (task.job_task, task.queue_name, task.retries) == ("remote:resize", "default", 3)


@pytest.mark.parametrize("name", ["remote:", "resize", "Remote:resize", "jobs.tasks.echo"])
def test_a_misspelt_task_is_unknown_and_told_how_a_remote_one_is_named(name: str) -> None:
    with pytest.raises(UnknownTask, match="remote:"):
        find_for_tenant(name)


@pytest.mark.parametrize("name", ["remote:x", "remote:this.that", "remote:antigravity.fly"])
def test_what_a_tenant_named_is_never_imported(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(UnknownTask, match="workers of its tenant"):
        find(name)
    assert set(sys.modules) == before


def test_no_task_of_ours_takes_a_remote_name() -> None:
    with pytest.raises(InvalidTask, match="workers of tenants"):
        QueueTask(
            priority=0,
            func=test_no_task_of_ours_takes_a_remote_name,
            backend="default",
            queue_name="default",
            run_after=None,
            expose="remote:mine",
        )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("remote:x", True), ("echo", True), ("tests.workers.tasks.add", False), ("resize", False)],
)
def test_tasks_that_only_python_may_call_are_not_for_tenants(name: str, expected: bool) -> None:
    assert is_for_tenants(name) is expected


@pytest.mark.django_db
def test_a_worker_of_ours_sees_nothing_in_a_line_of_a_remote_task(alice: Tenant) -> None:
    unknown = LeftToOthers()
    make_job(alice, task="remote:resize", queue="pictures")
    assert ready_lanes(unknown=unknown) == []
    make_job(alice, task="echo", queue="pictures")
    assert len(ready_lanes(unknown=unknown)) == 1
    unknown.add("echo")
    assert ready_lanes(unknown=unknown) == []
