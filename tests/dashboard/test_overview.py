"""The overview says what is wrong and where it is mended, how it went, and what comes first."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard.queries import history
from dashboard.queries.history import oldest_ages
from jobs import services
from jobs.keys import create_api_key
from jobs.models import Job, LaneMinute, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

OVERVIEW = "/"


@pytest.fixture
def make_worker() -> Callable[..., Worker]:
    """Makes workers that were seen a moment ago, unless told otherwise."""

    def make(name: str = "w", **fields: Any) -> Worker:
        now = timezone.now()
        seen = {"host": "host", "pid": 7, "slots": 4, "started_at": now, "seen_at": now}
        return Worker.objects.create(id=name, tasks=["echo"], **(seen | fields))

    return make


def _age(minutes: float, **jobs: Any) -> None:
    Job.objects.filter(**jobs).update(run_at=timezone.now() - timedelta(minutes=minutes))


def _attention(client: Client, **query: str) -> Any:
    return client.get(OVERVIEW, query).context["attention"]


def test_jobs_that_wait_for_long_are_named_and_led_to(
    ann: Client, alice: Tenant, make_worker: Callable[..., Worker]
) -> None:
    make_worker()
    make_job(alice, queue="mail")
    assert _attention(ann)["old"] == []

    _age(20, queue="mail")
    page = ann.get(OVERVIEW)

    assert [lane.queue for lane, _ in page.context["attention"]["old"]] == ["mail"]
    assert "?filter=queue:mail+status:PENDING&amp;tenant=alice" in page.text
    assert ann.get("/jobs/?filter=queue:mail+status:PENDING&tenant=alice").text.count("job-") == 1


def test_what_is_explained_otherwise_is_not_said_to_be_old(ann: Client, alice: Tenant) -> None:
    make_job(alice, queue="unserved")
    make_job(alice, queue="paused")
    services.set_queue_paused(alice, "paused", paused=True, actor="user:ann")
    _age(20, tenant=alice)

    attention = _attention(ann)

    assert attention["old"] == []
    assert [lane.queue for lane, _ in attention["paused"]] == ["paused"]
    assert [one.lane.queue for one in attention["unserved"]] == ["unserved"]


def test_a_paused_queue_without_jobs_needs_nobody(ann: Client, alice: Tenant) -> None:
    make_job(alice, Status.DONE)
    services.set_queue_paused(alice, "default", paused=True, actor="user:ann")

    assert 'class="alert' not in ann.get(OVERVIEW).text


def test_vanished_workers_are_told_to_operators(
    ann: Client, operator: Client, alice: Tenant, make_worker: Callable[..., Worker]
) -> None:
    make_worker(seen_at=timezone.now() - timedelta(minutes=10))
    make_worker("gone", stopped_at=timezone.now())

    assert [worker.pk for worker in _attention(operator)["vanished"]] == ["w"]
    assert "1 worker</b> vanished: host/7" in operator.get(OVERVIEW).text
    assert _attention(ann)["vanished"] == []


def test_jobs_that_nobody_makes_ready_are_told(ann: Client, alice: Tenant) -> None:
    make_job(alice, Status.SCHEDULED)
    assert _attention(ann)["late"] is None

    _age(5, status=Status.SCHEDULED)

    assert _attention(ann)["late"] is not None
    assert "are not made ready" in ann.get(OVERVIEW).text


@pytest.mark.parametrize(("span", "buckets", "hours"), [("7d", 84, 100), ("30d", 30, 600)])
def test_long_ranges_are_summed_from_what_was_added_up(
    ann: Client, alice: Tenant, span: str, buckets: int, hours: int
) -> None:
    job = make_job(alice, Status.DONE)
    at = (timezone.now() - timedelta(hours=hours)).replace(hour=0, minute=0, second=0)
    of = {"lane_id": job.lane_id, "tenant_id": alice.pk, "started": 40, "wait_seconds": 80}
    LaneMinute.objects.create(
        minute=at.replace(microsecond=0), shard=33, done=40, max_wait_seconds=9, **of
    )

    for _ in range(2):
        series = ann.get(OVERVIEW, {"range": span}).context["throughput"]["series"]
        assert len(series.at) == len(series.oldest) == buckets
        assert sum(series.done) == 41
        assert 2 in series.wait_avg
        assert 9 in series.wait_max


def test_an_unknown_range_is_the_usual_one(ann: Client, alice: Tenant) -> None:
    assert ann.get(OVERVIEW, {"range": "1y"}).context["throughput"]["span"].name == "1h"


def test_the_oldest_wait_is_that_of_the_longest_while_all_goes_well() -> None:
    now = timezone.now().replace(second=30, microsecond=0)
    at = [int(now.timestamp()) - 30 - 60 * back for back in (3, 2, 1, 0)]

    assert oldest_ages(at, [0.5, None, 0.2, 0.1], now, None) == [0.5, None, 0.2, 0.1]


def test_a_queue_that_stands_still_shows_by_the_age_of_its_oldest_job() -> None:
    now = timezone.now().replace(second=0, microsecond=0)
    at = [int(now.timestamp()) - 60 * back for back in (4, 3, 2, 1, 0)]

    still = oldest_ages(at, [0.5, None, None, None, None], now, now - timedelta(seconds=150))
    freed = oldest_ages(at, [0.5, None, None, 150, 0.2], now, None)

    assert still == [0.5, 30, 90, 150, 150]
    assert freed == [0.5, 30, 90, 150, 0.2]


@pytest.mark.parametrize("span", list(history.RANGES))
def test_before_the_first_job_nothing_had_waited(ann: Client, alice: Tenant, span: str) -> None:
    job = make_job(alice, Status.DONE)
    # A longer wait would have begun in the minute before, in the first seconds of one.
    LaneMinute.objects.filter(lane_id=job.lane_id).update(max_wait_seconds=0.001)

    page = ann.get(OVERVIEW, {"range": span})

    drawn = json.loads(unescape(page.text.partition('data-chart="')[2].partition('"')[0]))
    assert [age for age in drawn["oldest"] if age is not None] == [0.001]
    assert [bool(count) for count in drawn["done"]] == [x is not None for x in drawn["oldest"]]


def test_the_first_steps_are_ticked_off_by_what_happened(
    ann: Client, alice: Tenant, make_worker: Callable[..., Worker]
) -> None:
    def done() -> list[str]:
        return [step.name for step in _steps(ann) if step.is_done]

    assert [step.name for step in _steps(ann)] == ["worker", "key", "job", "done"]
    assert done() == []
    make_worker()
    create_api_key(alice, actor="user:ann")
    assert done() == ["worker", "key"]
    make_job(alice)
    assert done() == ["worker", "key", "job"]
    make_job(alice, Status.DONE, queue="other")
    assert _steps(ann) == []


def _steps(client: Client) -> list[Any]:
    steps: list[Any] = client.get(OVERVIEW).context["start"]["steps"]
    return steps


def test_what_a_viewer_may_not_do_is_not_offered(viewer: Client, alice: Tenant) -> None:
    page = viewer.get(OVERVIEW).text

    assert reverse("new-key") not in page
    assert reverse("submit") not in page


def test_past_hours_are_read_once_a_day() -> None:
    reads: list[tuple[datetime, datetime]] = []

    def read(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        reads.append((since, until))
        return [(since, until)]

    day = datetime(2030, 1, 5, tzinfo=UTC)
    noon, three = day + timedelta(hours=12), day + timedelta(hours=15)
    span, half = history.RANGES["24h"], timedelta(minutes=30)
    first = noon + half + span.step - span.length
    whole = history.past_and_recent("test", [1], span, noon + half, read)
    assert whole == reads == [(first, noon), (noon, noon + half + span.step)]
    reads.clear()
    later = history.past_and_recent("test", [1], span, three + half, read)
    assert reads == [(noon, three), (three, three + half + span.step)]
    assert later == [(first, noon), *reads]
    reads.clear()
    history.past_and_recent("test", [1], span, noon + half + timedelta(days=1), read)
    assert reads[0] == (first + timedelta(days=1), noon + timedelta(days=1))
