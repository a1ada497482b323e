"""Retrying needs the scope of what it does: to redrive, for a dead letter."""

from collections.abc import Callable

import pytest

from jobs.api.job_views import RetryJob
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def test_retrying_a_dead_letter_redrives_it_and_needs_the_scope_for_that(
    alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    failed, dead = (make_job(alice, status) for status in (Status.FAILED, Status.DLQ))
    submitter, admin = caller_of(alice, "submit"), caller_of(alice, "admin")
    assert submitter.post(f"/jobs/{failed.pk}/retry").status_code == 200
    refused = problem(submitter.post(f"/jobs/{dead.pk}/retry"), 403, "insufficient_scope")
    assert "'admin'" in refused["detail"]
    dead.refresh_from_db()
    assert dead.status == Status.DLQ
    assert admin.post(f"/jobs/{dead.pk}/retry").json()["status"] == "PENDING"


def test_a_job_that_dies_as_it_is_retried_is_not_redriven_without_the_scope(
    alice: Tenant, caller_of: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(alice, Status.DLQ)
    seen_before = Job.objects.get(pk=job.pk)
    seen_before.status = Status.FAILED
    monkeypatch.setattr(RetryJob, "job", lambda *_: seen_before)
    submitter = caller_of(alice, "submit")
    problem(submitter.post(f"/jobs/{job.pk}/retry"), 409, "status_conflict")
    job.refresh_from_db()
    assert job.status == Status.DLQ
