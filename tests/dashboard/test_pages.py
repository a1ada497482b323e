"""Every page renders, empty and full, without anything inline, and at a bounded cost."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dashboard.queries.counts import total
from jobs.lookup import in_status
from jobs.models import Job, Lane, LaneMinute, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

PAGES = (
    *("overview", "jobs", "dead", "operations", "workers", "submit", "settings"),
    *("queues", "tenants"),
)
REGIONS = {
    "overview": ("attention", "start", "tiles", "throughput", "queues", "tenants", "workers"),
    "jobs": ("jobs",),
    "dead": ("dead",),
    "operations": ("operations",),
    "queues": ("queue_list",),
    "tenants": ("tenant_list",),
    "workers": ("worker_list",),
}
MOST_QUERIES = 25
"""On PostgreSQL with what is set for the planner, and with jobs that no worker takes."""
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|<script(?![^>]*\ssrc=)", re.I)


@pytest.fixture
def busy(alice: Tenant, mallory: Tenant) -> dict[Status, Job]:
    """Two tenants with a job in every status that a job can be brought to, and workers."""
    made = {}
    for tenant in (mallory, alice):
        for status in (s for s in Status if s is not Status.BLOCKED):
            made[status] = make_job(tenant, status, queue=status.lower(), tags=("vip",))
    now = timezone.now()
    for name, fields in {"live": {}, "old": {"seen_at": now - timedelta(hours=1)}}.items():
        times = {"started_at": now - timedelta(hours=2), "seen_at": now} | fields
        Worker.objects.create(id=name, host="host", pid=1, slots=4, running=1, **times)
    return made


@pytest.mark.parametrize("name", PAGES)
def test_pages_render_without_any_job(operator: Client, alice: Tenant, name: str) -> None:
    assert operator.get(reverse(name)).status_code == 200


@pytest.mark.parametrize("name", PAGES)
def test_pages_render_without_any_tenant(operator: Client, name: str) -> None:
    assert operator.get(reverse(name), follow=True).status_code == 200


@pytest.mark.parametrize("name", PAGES)
def test_pages_render_full_and_hold_nothing_inline(
    operator: Client, busy: dict[Status, Job], name: str
) -> None:
    page = operator.get(reverse(name)).content.decode()

    assert not INLINE.findall(page)
    assert "Traceback" not in page


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.BLOCKED])
def test_the_page_of_a_job_renders_in_every_status(
    ann: Client, busy: dict[Status, Job], status: Status
) -> None:
    page = ann.get(reverse("job", args=[busy[status].pk])).content.decode()

    assert not INLINE.findall(page)
    assert f"status-{status.lower()}" in page
    assert str(busy[status].pk) in page


@pytest.mark.parametrize("name", PAGES)
def test_the_cost_of_a_page_does_not_grow_with_the_jobs(
    operator: Client, alice: Tenant, mallory: Tenant, name: str
) -> None:
    few = _queries(operator, name, alice, mallory)
    many = _queries(operator, name, alice, mallory)

    assert many <= few <= MOST_QUERIES


def _queries(client: Client, name: str, *tenants: Tenant) -> int:
    for tenant in tenants:
        for status in (Status.DONE, Status.DLQ, Status.PENDING):
            lanes = Lane.objects.count()
            make_job(tenant, status, queue=f"queue-{lanes}")
    in_status(Job.objects, Status.PENDING).update(run_at=timezone.now() - timedelta(hours=1))
    with CaptureQueriesContext(connection) as captured:
        assert client.get(reverse(name)).status_code == 200
    return len(captured)


def test_no_page_counts_finished_jobs(operator: Client, busy: dict[Status, Job]) -> None:
    for name in ("overview", "jobs"):
        with CaptureQueriesContext(connection) as captured:
            operator.get(reverse(name))
        counting = [q["sql"] for q in captured if "count(" in q["sql"].lower()]
        assert counting
        assert not [sql for sql in counting if "'DONE'" in sql]


@pytest.mark.parametrize(
    ("name", "region"), [(name, region) for name, all_ in REGIONS.items() for region in all_]
)
def test_a_region_is_answered_alone(
    operator: Client, busy: dict[Status, Job], name: str, region: str
) -> None:
    fragment = operator.get(reverse(name), {"partial": region}).content.decode()

    assert fragment.count("data-region=") == 1
    assert f'data-region="{region}"' in fragment
    assert "<html" not in fragment


def test_a_region_that_is_named_often_is_answered_once(operator: Client, alice: Tenant) -> None:
    once, often = (
        operator.get(reverse("dead"), {"partial": ",".join(["dead"] * times)}).text
        for times in (1, 500)
    )
    assert once == often


def test_an_unknown_region_is_an_empty_answer(operator: Client, alice: Tenant) -> None:
    answer = operator.get(reverse("overview"), {"partial": "nothing,../base"})

    assert (answer.status_code, answer.content) == (200, b"")


def test_tiles_show_the_counts_and_link_to_the_jobs(ann: Client, busy: dict[Status, Job]) -> None:
    page = ann.get(reverse("overview"))
    tiles = page.context["tiles"]["counts"]
    links = dict(re.findall(r'<a class="tile status-(\w+)[^"]*" href="([^"]*)"', page.text))

    for status in (Status.PENDING, Status.RUNNING, Status.SCHEDULED, Status.FAILED, Status.DLQ):
        assert str(tiles[status]) == "1"
        assert str(busy[status].pk) in ann.get(unescape(links[status.lower()])).text
    done_today = {"finished_at": timezone.now() - timedelta(hours=23)}
    done_before = {"finished_at": timezone.now() - timedelta(hours=25)}
    for ended, is_shown in ((done_today, True), (done_before, False)):
        Job.objects.filter(pk=busy[Status.DONE].pk).update(**ended)
        shown = ann.get(unescape(links["done"])).text
        assert (str(busy[Status.DONE].pk) in shown) is is_shown


def test_what_is_wrong_is_said_and_only_then(ann: Client, alice: Tenant) -> None:
    url = reverse("overview")
    assert 'class="alert' not in ann.get(url).content.decode()

    make_job(alice, Status.DLQ)
    make_job(alice, queue="lonely")
    Job.objects.filter(queue="lonely").update(run_at=timezone.now() - timedelta(minutes=1))
    page = ann.get(url).content.decode()

    assert "1</b> dead letter needs a decision" in page
    assert "1 waiting</a>. No live worker serves the queue &#x27;lonely&#x27;." in page


def test_a_tenant_at_its_limit_is_named(
    operator: Client, make_tenant: Callable[..., Tenant]
) -> None:
    tenant = make_tenant("small", max_running=1)
    make_job(tenant, Status.RUNNING)
    make_job(tenant)

    assert "runs 1 of 1 jobs" in operator.get(reverse("overview")).content.decode()


@pytest.mark.parametrize(("span", "buckets"), [("15m", 15), ("1h", 60), ("6h", 72), ("24h", 96)])
def test_the_chart_covers_its_range_without_gaps(
    ann: Client, alice: Tenant, span: str, buckets: int
) -> None:
    job = make_job(alice, Status.DONE)
    LaneMinute.objects.create(
        lane_id=job.lane_id,
        tenant_id=alice.pk,
        minute=timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=10),
        done=5,
        started=5,
        wait_seconds=10,
        max_wait_seconds=4,
    )

    series = ann.get(reverse("overview"), {"range": span}).context["throughput"]["series"]

    assert len(series.at) == buckets
    assert len({b - a for a, b in zip(series.at, series.at[1:], strict=False)}) == 1
    assert sum(series.done) == 6
    assert max(w for w in series.wait_max if w is not None) == 4


def test_the_done_tile_sums_a_day_of_settled_hours_and_the_current_one(
    ann: Client, alice: Tenant
) -> None:
    job = make_job(alice, Status.DONE)
    this_minute = timezone.now().replace(second=0, microsecond=0)
    for hours, done in ((2, 10), (20, 100), (30, 1_000)):
        LaneMinute.objects.create(
            lane_id=job.lane_id,
            tenant_id=alice.pk,
            minute=this_minute - timedelta(hours=hours),
            done=done,
        )

    for _ in range(2):
        counts = ann.get(reverse("overview")).context["tiles"]["counts"]
        assert str(counts[Status.DONE]) == "111"


def test_counts_stop_at_the_cap() -> None:
    assert str(total([10_000])) == "10,000"
    assert str(total([10_001])) == "10,000+"
    assert str(total([10_001, 5])) == "10,005+"


def test_first_visit_says_how_to_make_the_first_job(ann: Client, alice: Tenant) -> None:
    for name in ("overview", "jobs"):
        assert "/api/v1/jobs" in ann.get(reverse(name)).content.decode()


def test_errors_look_like_the_rest(ann: Client) -> None:
    answer = ann.get("/no/such/page")

    assert answer.status_code == 404
    assert b"dashboard/app.css" in answer.content


def test_pages_of_users_are_not_kept_by_caches(ann: Client) -> None:
    assert "no-store" in ann.get(reverse("overview"))["Cache-Control"]


def test_the_tags_of_workers_and_of_jobs_that_need_them_are_shown(
    operator: Client, alice: Tenant
) -> None:
    now = timezone.now()
    seen = {"host": "h", "pid": 1, "slots": 1, "started_at": now, "seen_at": now}
    Worker.objects.create(id="w", tags=["arm", "gpu"], **seen)
    job = make_job(alice, worker_tags=("gpu", "arm"))

    assert '<td data-label="Tags">arm, gpu</td>' in operator.get(reverse("workers")).text
    page = operator.get(reverse("job", args=[job.pk])).text
    assert "<dt>Needs workers with</dt><dd>arm, gpu</dd>" in page
    assert "&quot;worker_tags&quot;: [&quot;arm&quot;, &quot;gpu&quot;]" in page


@pytest.mark.parametrize("path", ["/", "/login", "/admin/"])
def test_an_installation_with_a_name_says_which_it_is(
    operator: Client, client: Client, settings: Any, path: str
) -> None:
    visitor = client if path == "/login" else operator
    assert 'class="environment"' not in visitor.get(path).text

    settings.ENVIRONMENT_NAME = "staging <1>"
    page = visitor.get(path).text

    assert '<span class="environment">staging &lt;1&gt;</span>' in page
    assert "staging" in page.partition("<title>")[2].partition("</title>")[0]
