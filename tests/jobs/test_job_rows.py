"""A job that is found past the ORM is the one that the ORM finds."""

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from jobs import services, store
from jobs.access import get_job, get_job_of_tenant, jobs_of_tenant
from jobs.errors import JobNotFound
from jobs.job_rows import attempts_of, find_jobs
from jobs.models import Job, Tenant
from jobs.services import submit
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["watched", "unwatched"])
def looked_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where nobody looks on, statements go past Django's cursor too."""
    wrappers = connection.execute_wrappers
    connection.execute_wrappers = wrappers if request.param == "watched" else []
    yield
    connection.execute_wrappers = wrappers


@pytest.mark.usefixtures("looked_on")
def test_fields_have_the_same_values_and_types(alice: Tenant) -> None:
    new = NewJob(task="echo", payload=b"[1.10]", tags=("a", "b"), timeout_seconds=1.5)
    for job_id in (make_job(alice, Status.DLQ, result=b"1").pk, submit(alice, new).job_id):
        expected = get_job(jobs_of_tenant(alice), job_id)
        found = get_job_of_tenant(alice, str(job_id))
        assert found == expected
        for field in Job._meta.concrete_fields:
            ours, theirs = (getattr(job, field.attname) for job in (found, expected))
            assert bytes_of(ours) == bytes_of(theirs), field.name
    found.refresh_from_db()
    assert found.tenant == alice
    ids = list(Job.objects.values_list("pk", flat=True))
    assert find_jobs(alice.pk, ids) == Job.objects.in_bulk(ids)


def bytes_of(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


def test_another_tenants_job_is_not_found(alice: Tenant, mallory: Tenant) -> None:
    job_id = submit(alice, NewJob(task="echo")).job_id
    for wanted in (job_id, "no-id", "01a202a5-4b06-7a72-b617-e0e2c25864bb"):
        with pytest.raises(JobNotFound):
            get_job_of_tenant(mallory, wanted)
    assert find_jobs(mallory.pk, [job_id]) == {}


def test_it_takes_one_query(
    alice: Tenant, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    job_id = submit(alice, NewJob(task="echo")).job_id
    with django_assert_num_queries(1):
        get_job_of_tenant(alice, job_id)


@pytest.mark.parametrize("status", list(set(Status) - {Status.BLOCKED}))
def test_attempts_are_all_that_failed_or_were_lost(alice: Tenant, status: Status) -> None:
    job = make_job(alice, status)
    assert attempts_of(job) == list(job.attempts.order_by("fence"))
    if status is Status.DLQ:
        assert attempts_of(job)


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.DONE])
def test_nobody_is_asked_for_attempts_that_cannot_be(
    alice: Tenant, status: Status, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    job = make_job(alice, status)
    with django_assert_num_queries(0):
        assert attempts_of(job) == []


def test_a_job_that_is_done_at_last_keeps_its_failed_attempts(alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED)
    services.retry(job, actor="command:test")
    (again,) = store.claim("w", [store.Share(job.lane_id, 1)], lease_seconds=30)
    job.refresh_from_db()
    assert [attempt.number for attempt in attempts_of(job)] == [1]
    done = store.Outcome(
        job_id=job.pk,
        fence=again.fence,
        lane_id=job.lane_id,
        tenant_id=alice.pk,
        status=Status.DONE,
        result=b"null",
    )
    assert store.finish("w", [done]) == {job.pk}
    job.refresh_from_db()
    assert [attempt.number for attempt in attempts_of(job)] == [1]
