"""The overview shows how long 95 of 100 jobs had waited, over time, for one tenant or for all."""

import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.queries.history import RANGES, SETTLED_AFTER
from dashboard.queries.waits import waits_over_time
from dashboard.scope import PageScope
from jobs.models import LaneMinute, Tenant, WaitMinute
from jobs.statuses import Status
from jobs.store import Outcome, waits
from jobs.store.minutes import EVERYBODY
from jobs.store.waits import bucket_of
from tests.factories import make_job

OVERVIEW = "/"
SPANS = ("15m", "1h", "6h", "24h", "7d", "30d")


def ago(minutes: float = 0) -> datetime:
    """The minute so long before."""
    return (timezone.now() - timedelta(minutes=minutes)).replace(second=0, microsecond=0)


def wait(tenant_id: int, seconds: float, attempts: int = 1, at: datetime | None = None) -> None:
    """Have so many attempts been counted that had waited so long; now, if nobody says when."""
    WaitMinute.objects.create(
        tenant_id=tenant_id, minute=at or ago(), bucket=bucket_of(seconds), attempts=attempts
    )


def throughput(client: Client, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(OVERVIEW, query).context["throughput"]
    return found


def near(seconds: float) -> Any:
    return pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize("span", SPANS)
def test_each_time_has_its_p95_and_idle_times_have_none(
    ann: Client, alice: Tenant, span: str
) -> None:
    late = ago()
    wait(alice.pk, 3, attempts=94, at=late)
    wait(alice.pk, 60, attempts=6, at=late)
    wait(alice.pk, 900, at=ago(minutes=60 * 24 * 40))
    shown = throughput(ann, range=span)
    series = shown["series"]
    told = dict(zip(series.at, series.wait_p95, strict=True))
    (at,) = [at for at, seconds in told.items() if seconds is not None]
    assert (told[at], shown["p95"]) == (near(60), near(60))
    assert at <= late.timestamp() < at + shown["span"].step.total_seconds()


def test_what_few_waited_for_long_is_above_it(ann: Client, alice: Tenant) -> None:
    wait(alice.pk, 3, attempts=95)
    wait(alice.pk, 60, attempts=5)
    assert throughput(ann)["p95"] == near(3)


@pytest.mark.parametrize("span", SPANS)
def test_those_of_a_tenant_are_its_own(
    ann: Client,
    operator: Client,
    stranger: Client,
    log_in: Callable[..., Client],
    alice: Tenant,
    mallory: Tenant,
    span: str,
) -> None:
    both = log_in("bea", alice, mallory)
    for tenant_id, seconds in ((alice.pk, 3), (mallory.pk, 60), (EVERYBODY, 600)):
        wait(tenant_id, seconds)
    assert throughput(ann, range=span)["p95"] == near(3)
    assert throughput(stranger, range=span)["p95"] == near(60)
    assert throughput(both, range=span)["p95"] == near(60)
    assert throughput(both, range=span, tenant="alice")["p95"] == near(3)
    assert throughput(operator, range=span)["p95"] == near(600)
    assert throughput(operator, range=span, tenant="alice")["p95"] == near(3)


def test_the_chart_and_its_table_tell_it(ann: Client, alice: Tenant) -> None:
    page = ann.get(OVERVIEW).text
    assert "p95 in all" not in page
    wait(alice.pk, 42, at=ago(minutes=2))
    page = ann.get(OVERVIEW).text
    assert "p95 in all 4" in page
    (chart,) = [x.split('"')[1] for x in page.split("data-chart=")[1:]]
    drawn = json.loads(unescape(chart))
    assert [seconds for seconds in drawn["wait_p95"] if seconds] == [near(42)]
    assert len(drawn["wait_p95"]) == len(drawn["oldest"]) == len(drawn["at"])
    table = page.split("throughput-table")[1].split("</details>")[0]
    assert "Wait, p95" in table
    assert [row for row in table.split("<tr>") if "<td" in row and ">4" in row]


def test_it_is_not_longer_than_the_longest(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.RUNNING)
    minute = ago(minutes=1)
    wait(alice.pk, 39.5, at=minute)
    LaneMinute.objects.create(
        lane_id=job.lane_id,
        tenant_id=alice.pk,
        minute=minute,
        done=1,
        started=1,
        wait_seconds=39.5,
        max_wait_seconds=39.5,
    )
    series = throughput(ann)["series"]
    assert [x for x in series.wait_p95 if x] == [39.5]
    assert [x for x in series.wait_max if x] == [39.5]


def test_long_ranges_read_past_hours_once_and_by_the_index(alice: Tenant) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    WaitMinute.objects.bulk_create(
        WaitMinute(
            tenant_id=tenant_id,
            minute=now - timedelta(hours=hours),
            shard=32,
            bucket=bucket_of(seconds),
            attempts=1,
        )
        for tenant_id in range(40)
        for hours in range(2, 100)
        for seconds in (0.01, 60)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    everybody = PageScope(User(is_staff=True), (alice,), chosen=None)
    first, again = (reads_of_waits(everybody, now) for _ in range(2))
    assert len(first) == 2
    assert len(again) == 1, "past hours are in the cache"
    for statement in first:
        plan = plan_of(statement)
        assert re.search(r"wait_minute_once|SEARCH jobs_waitminute USING INDEX", plan), plan
    with connection.cursor() as cursor:
        cursor.execute(first[0])
        assert len(cursor.fetchall()) <= 2 * 6, "a row for a day and a length of wait"


def test_what_has_left_the_range_since_it_was_read_is_not_told(alice: Tenant) -> None:
    noon = datetime(2030, 1, 5, 12, 30, tzinfo=UTC)
    wait(EVERYBODY, 60, at=noon - timedelta(hours=23))
    wait(EVERYBODY, 3, at=noon - timedelta(hours=3))
    everybody = PageScope(User(is_staff=True), (alice,), chosen=None)
    seen = [
        sum(waits_over_time(everybody, RANGES["24h"], now).values(), Counter())
        for now in (noon, noon + timedelta(hours=3))
    ]
    assert seen == [{bucket_of(60): 1, bucket_of(3): 1}, {bucket_of(3): 1}]


@pytest.mark.parametrize("span", ["24h", "7d", "30d"])
@pytest.mark.parametrize("late", [timedelta(minutes=90), timedelta(hours=6)])
def test_what_a_quiet_server_writes_after_hours_is_told(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch, span: str, late: timedelta
) -> None:
    """The cache holds the hour in which it ended for final."""
    everybody = PageScope(User(is_staff=True), (alice,), chosen=None)
    counted, began = waits.Waits(), time.monotonic()
    monkeypatch.setattr(waits, "time", SimpleNamespace(monotonic=lambda: began))
    counted.note([attempt(alice, waited_seconds=60)])
    assert told_of(everybody, span) == {}
    monkeypatch.setattr(
        waits, "time", SimpleNamespace(monotonic=lambda: began + late.total_seconds())
    )
    counted.write()
    assert told_of(everybody, span) == {bucket_of(60): 1}


def test_no_wait_is_put_in_an_hour_that_may_be_final() -> None:
    slack = SETTLED_AFTER.total_seconds() - waits.MAX_AGE_SECONDS
    assert slack >= 60, "a write and clocks that differ take a while"


def attempt(tenant: Tenant, *, waited_seconds: float) -> Outcome:
    return Outcome(
        job_id=uuid.uuid4(),
        fence=1,
        lane_id=1,
        tenant_id=tenant.pk,
        status=Status.DONE,
        waited_seconds=waited_seconds,
    )


def told_of(scope: PageScope, span: str) -> Counter[int]:
    found = waits_over_time(scope, RANGES[span], timezone.now())
    return sum(found.values(), Counter())


def reads_of_waits(scope: PageScope, now: datetime) -> list[str]:
    with CaptureQueriesContext(connection) as seen:
        found = waits_over_time(scope, RANGES["30d"], now)
    assert sum(sum(counts.values()) for counts in found.values()) == 2 * 98
    return [one["sql"] for one in seen if "jobs_waitminute" in one["sql"]]


def plan_of(statement: str) -> str:
    prefix = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{prefix} {statement}")
        return "\n".join(" ".join(str(cell) for cell in row) for row in cursor.fetchall())
