"""`GET /jobs/{id}/logs`: what a job has logged, in pages that can be followed."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import Logged, keep_log
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def make_log(job: Job, *messages: str, first: int = 1, attempt: int = 1) -> None:
    """The running job has logged these."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    told = {"job_id": job.pk, "fence": job.fence, "attempt": attempt, "at": at, "level": 20}
    keep_log([Logged(number=n, message=text, **told) for n, text in enumerate(messages, first)])


@pytest.fixture
def job(alice: Tenant) -> Job:
    return make_job(alice, Status.RUNNING)


def test_lines_come_in_order_with_all_that_they_say(api: Caller, job: Job) -> None:
    make_log(job, "one", "two")
    answer = api.get(f"/jobs/{job.pk}/logs").json()
    assert [line["message"] for line in answer["results"]] == ["one", "two"]
    assert answer["next"] is None
    assert answer["results"][0] == {
        "id": f"{job.fence}-1",
        "attempt": 1,
        "number": 1,
        "at": "2030-01-01T00:00:00.000000Z",
        "level": "info",
        "logger": "",
        "message": "one",
    }


def test_a_job_that_has_logged_nothing_has_no_lines(api: Caller, job: Job) -> None:
    assert api.get(f"/jobs/{job.pk}/logs").json() == {"results": [], "next": None}


def test_next_leads_through_all_pages(api: Caller, client: Client, job: Job) -> None:
    make_log(job, *"abcde")
    found, address = [], f"/api/v1/jobs/{job.pk}/logs?limit=2&attempt=1"
    for _ in range(3):
        answer = client.get(address, headers=api.headers).json()
        found += [line["message"] for line in answer["results"]]
        address = answer["next"]
    assert (found, address) == (list("abcde"), None)


def test_lines_to_come_are_asked_for_after_the_last(api: Caller, job: Job) -> None:
    make_log(job, "one", "two")
    last = api.get(f"/jobs/{job.pk}/logs").json()["results"][-1]["id"]
    assert api.get(f"/jobs/{job.pk}/logs?after={last}").json()["results"] == []
    make_log(job, "three", first=3)
    answer = api.get(f"/jobs/{job.pk}/logs?after={last}").json()
    assert [line["message"] for line in answer["results"]] == ["three"]


def test_one_attempt_can_be_asked_for(api: Caller, job: Job) -> None:
    make_log(job, "of the first")
    Job.objects.filter(pk=job.pk).update(fence=job.fence + 1)
    job.refresh_from_db()
    make_log(job, "of the second", attempt=2)
    for attempt, expected in ((1, ["of the first"]), (2, ["of the second"]), (3, [])):
        answer = api.get(f"/jobs/{job.pk}/logs?attempt={attempt}").json()
        assert [line["message"] for line in answer["results"]] == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("attempt=0", "out_of_range"),
        ("attempt=-1", "out_of_range"),
        ("attempt=99999", "out_of_range"),
        ("attempt=one", "out_of_range"),
        ("limit=0", "out_of_range"),
        ("limit=201", "out_of_range"),
        ("after=", "invalid_cursor"),
        ("after=17", "invalid_cursor"),
        ("after=1-2-3", "invalid_cursor"),
        ("after=1-9999999999", "invalid_cursor"),
        ("after=%00-1", "invalid_cursor"),
        ("cursor=x", "unknown_parameter"),
        ("limit=1&limit=2", "invalid_parameter"),
    ],
)
def test_what_cannot_be_asked_is_refused(api: Caller, job: Job, query: str, code: str) -> None:
    problem(api.get(f"/jobs/{job.pk}/logs?{query}"), 400, code)


def test_reading_needs_the_scope_to_read(
    caller_of: Callable[..., Caller], alice: Tenant, job: Job
) -> None:
    answer = caller_of(alice, "submit").get(f"/jobs/{job.pk}/logs")
    problem(answer, 403, "insufficient_scope")
