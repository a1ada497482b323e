"""The overview of one queue, and the way from a bar of a chart to the jobs that ended in it."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client

from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

OVERVIEW = "/"
ENDED_THEN = re.compile(r'<a href="([^"]*)" data-at="(\d+)">')


@pytest.fixture
def jobs(alice: Tenant, mallory: Tenant) -> None:
    """What ended, waits and runs in queues of two tenants."""
    make_job(alice, Status.DONE, queue="mail")
    make_job(alice, Status.DONE, queue="files")
    make_job(mallory, Status.DLQ, queue="mail")
    make_job(alice, Status.RUNNING, queue="mail")
    make_job(alice, queue="mail")


def charts(client: Client, **query: str) -> Any:
    return client.get(OVERVIEW, query).context["throughput"]


def test_a_queue_has_charts_of_its_own(ann: Client, jobs: None) -> None:
    page = ann.get(OVERVIEW, {"queue": "mail", "range": "15m"})
    shown = page.context["throughput"]

    assert (sum(shown["series"].done), sum(shown["series"].dead)) == (1, 0)
    assert "1 waiting, 1 running now" in page.text
    assert shown["series"].oldest[-1] is not None
    assert "p95" not in re.sub(r'data-chart="[^"]*"', "", page.text)
    assert '<a href="?queue=mail&amp;range=7d">7d</a>' in page.text
    assert 'id="tiles"' not in page.text


def test_a_queue_of_that_name_of_all_tenants_and_of_one(operator: Client, jobs: None) -> None:
    of_all = charts(operator, queue="mail")["series"]
    of_one = charts(operator, queue="mail", tenant="mallory")["series"]

    assert (sum(of_all.done), sum(of_all.dead)) == (1, 1)
    assert (sum(of_one.done), sum(of_one.dead)) == (0, 1)


def test_the_queue_of_a_stranger_is_none(ann: Client, mallory: Tenant, jobs: None) -> None:
    make_job(mallory, Status.DONE, queue="secret")
    page = ann.get(OVERVIEW, {"queue": "secret"})

    assert "no queue is called that" in page.text
    assert sum(page.context["throughput"]["series"].done) == 0


@pytest.mark.parametrize("path", ["/", "/queues/"])
def test_the_rows_of_queues_lead_to_their_charts(ann: Client, jobs: None, path: str) -> None:
    assert 'href="/?queue=files&amp;tenant=alice"' in ann.get(path).text


def _links(client: Client, **query: str) -> dict[int, str]:
    found = ENDED_THEN.findall(client.get(OVERVIEW, query).text)
    return {int(at): unescape(address) for address, at in found}


def test_a_time_of_the_chart_leads_to_the_jobs_that_ended_in_it(ann: Client, alice: Tenant) -> None:
    for minutes in (3, 10):
        job = make_job(alice, Status.DONE, queue="mail")
        start = datetime.now(UTC) - timedelta(minutes=minutes)
        Job.objects.filter(pk=job.pk).update(finished_at=start)
    now = make_job(alice, Status.DONE, queue="mail")
    make_job(alice, Status.DONE, queue="files")

    links = _links(ann, queue="mail", range="15m")
    listed = ann.get(links[max(links)]).context["jobs"]["page"].rows
    assert [job.pk for job in listed] == [now.pk]


def test_the_whole_range_leads_to_its_jobs(operator: Client, jobs: None) -> None:
    page = operator.get(OVERVIEW, {"tenant": "mallory", "range": "6h"}).text
    (address,) = re.findall(r'<a href="([^"]*)">All jobs that ended in this time', page)

    (job,) = operator.get(unescape(address)).context["jobs"]["page"].rows
    assert job.status == Status.DLQ
