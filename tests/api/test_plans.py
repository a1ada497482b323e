"""What the API reads often is found through an index, also where finished jobs are many."""

import pytest
from django.db import connection
from django.db.models import QuerySet

from jobs.access import jobs_of_tenant
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
