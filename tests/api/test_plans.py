"""What the API reads often is found through an index, also where finished jobs are many."""

from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from jobs.access import jobs_of_tenant
from jobs.figures import lanes_of, status_counts
from jobs.lookup import in_status
from jobs.models import Job, Tenant
from jobs.statuses import UNUSUAL, Status
from tests.factories import copy_job, make_job

pytestmark = pytest.mark.django_db


def plan(jobs: QuerySet[Job]) -> str:
    """The plan, on PostgreSQL with a table too small to be scanned for its size."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    return jobs.explain()


@pytest.fixture
def history(alice: Tenant) -> Tenant:
    """Alice with hundreds of finished jobs, which the planner knows of."""
    copy_job(make_job(alice, Status.DONE), 500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return alice


@pytest.mark.parametrize("status", sorted(UNUSUAL))
def test_unusual_statuses_have_their_index(history: Tenant, status: Status) -> None:
    jobs = in_status(jobs_of_tenant(history), status)
    newest = plan(jobs.order_by("-pk"))
    assert any(index in newest for index in ("job_unusual", "job_dead", "job_due")), newest
    assert "job_unusual" in plan(in_status(jobs_of_tenant(history), *UNUSUAL).order_by())


def test_ready_and_running_jobs_have_theirs(alice: Tenant) -> None:
    running = in_status(jobs_of_tenant(alice), Status.RUNNING).order_by()
    assert "job_running" in plan(running)
    ready = in_status(Job.objects.filter(lane_id__in=[1, 2]), Status.PENDING).order_by()
    assert "job_ready" in plan(ready)


def test_a_list_walks_the_tenants_jobs_newest_first(alice: Tenant) -> None:
    assert "job_of_tenant" in plan(jobs_of_tenant(alice).order_by("-pk")[:51])


def test_dead_letters_are_sought_among_the_tenants_own(alice: Tenant, mallory: Tenant) -> None:
    for tenant, count in ((alice, 100), (mallory, 2_000)):
        copy_job(make_job(tenant, Status.DLQ), count)
    plans: list[str] = []
    explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "jobs_job" in sql:
            cursor = context["cursor"].cursor
            cursor.execute(explain + sql, params)
            plans.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with connection.execute_wrapper(note):
        assert lanes_of(alice)[0].depth[Status.DLQ] == 101
        assert status_counts(alice)[Status.DLQ] == 101
    assert any("job_unusual" in plan for plan in plans)
    assert not [plan for plan in plans if "job_dead" in plan or "Seq Scan on jobs_job" in plan]
