"""The log on the page of a job."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import Logged, keep_log
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def make_log(job: Job, *messages: str, level: int = 20, attempt: int = 1) -> None:
    at = datetime(2030, 1, 1, 12, 0, 1, 234_000, tzinfo=UTC)
    told = {"job_id": job.pk, "fence": job.fence, "attempt": attempt, "at": at, "level": level}
    keep_log([Logged(number=n, message=text, **told) for n, text in enumerate(messages, 1)])


def page_of(job: Job) -> str:
    return reverse("job", args=[job.pk])


@pytest.fixture
def job(alice: Tenant) -> Job:
    return make_job(alice, Status.RUNNING)


def test_a_running_job_shows_its_lines_and_asks_for_more(ann: Client, job: Job) -> None:
    make_log(job, "<b>order 17</b>", "no answer", level=40)
    page = ann.get(page_of(job)).content.decode()
    assert 'data-refresh="1"' in page
    assert "&lt;b&gt;order 17&lt;/b&gt;" in page
    assert "ERROR" in page
    assert "12:00:01.234" in page


def test_the_region_alone_is_what_is_asked_for(ann: Client, job: Job) -> None:
    make_log(job, "one")
    fragment = ann.get(f"{page_of(job)}?partial=logs").content.decode()
    assert fragment.strip().startswith("<section")
    assert "one" in fragment
    assert "<html" not in fragment


def test_a_job_that_has_ended_is_not_asked_again(ann: Client, alice: Tenant) -> None:
    page = ann.get(page_of(make_job(alice, Status.DONE))).content.decode()
    assert "data-refresh" not in page
    assert "logging" in page


def test_a_run_is_chosen_by_the_address(ann: Client, job: Job) -> None:
    make_log(job, "of the first")
    first = job.fence
    Job.objects.filter(pk=job.pk).update(fence=first + 1)
    job.refresh_from_db()
    make_log(job, "of the second", attempt=2)
    newest = ann.get(page_of(job)).content.decode()
    assert ("of the second" in newest, "of the first" in newest) == (True, False)
    chosen = ann.get(f"{page_of(job)}?run={first}").content.decode()
    assert ("of the second" in chosen, "of the first" in chosen) == (False, True)
    assert "of the second" in ann.get(f"{page_of(job)}?run=nonsense").content.decode()


def test_of_a_long_log_the_end_is_shown_and_all_of_it_as_text(ann: Client, job: Job) -> None:
    make_log(job, *[f"line no. {number}." for number in range(1, 401)])
    page = ann.get(page_of(job)).content.decode()
    assert "line no. 400." in page
    assert "line no. 100." not in page
    assert "100 earlier lines" in page
    text = ann.get(reverse("log-text", args=[job.pk, job.fence]))
    assert text["Content-Type"] == "text/plain; charset=utf-8"
    pieces = list(text.streaming_content)
    assert max(map(len, pieces)) < 10_000
    lines = b"".join(pieces).decode().splitlines()
    assert len(lines) == 400
    assert lines[-1].endswith("line no. 400.")
    assert lines[0] == "2030-01-01T12:00:01.234000Z  INFO      : line no. 1."


def test_who_may_not_read_payloads_may_not_read_logs(viewer: Client, job: Job) -> None:
    make_log(job, "a secret")
    page = viewer.get(page_of(job)).content.decode()
    assert "a secret" not in page
    assert "Withheld" in page
    assert viewer.get(reverse("log-text", args=[job.pk, job.fence])).status_code == 403


def test_a_strangers_log_is_absent(
    stranger: Client, job: Job, log_in: Callable[..., Client]
) -> None:
    make_log(job, "a secret")
    assert stranger.get(reverse("log-text", args=[job.pk, job.fence])).status_code == 404
    assert stranger.get(f"{page_of(job)}?partial=logs").status_code == 404
