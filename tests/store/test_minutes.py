"""Old counts are added up: into hours after two days, into days after two weeks. No sum changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Max, Sum

from jobs import store
from jobs.models import Lane, LaneMinute, Tenant
from jobs.store.minutes import SHARDS
from tests.store.steps import database_time, lane_of, together

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ADDED = ("done", "failed", "dead", "cancelled", "started", "purged", "wait_seconds", "run_seconds")
HOURLY, DAILY = SHARDS, SHARDS + 1


@pytest.fixture
def lane(alice: Tenant) -> Lane:
    """A lane of which nothing is counted yet."""
    return lane_of(alice)


def count(lane: Lane, minute: datetime, shard: int = 0, **figures: float) -> None:
    """Have this been counted in a minute of the lane."""
    LaneMinute.objects.create(
        lane_id=lane.pk, tenant_id=lane.tenant_id, minute=minute, shard=shard, **figures
    )


def midnight(days_ago: int) -> datetime:
    """The beginning of a day."""
    today = database_time().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - days_ago * DAY


def sums() -> dict[str, Any]:
    """What all rows say together."""
    added = {name: Sum(name) for name in ADDED}
    return LaneMinute.objects.aggregate(**added, longest=Max("max_wait_seconds"))


def rows(lane: Lane) -> list[tuple[datetime, int, int]]:
    """The rows of the lane: when, their shards, and how many were done."""
    found = LaneMinute.objects.filter(lane_id=lane.pk).order_by("minute", "shard")
    return list(found.values_list("minute", "shard", "done"))


def sum_up(lane: Lane) -> int:
    """Add up all that is due; answers in how many steps."""
    steps = 0
    while store.sum_up(lane.pk):
        steps += 1
    return steps


def test_minutes_become_an_hour_with_all_their_figures(lane: Lane) -> None:
    at = midnight(4) + 5 * HOUR
    figures: dict[str, float] = {name: number for number, name in enumerate(ADDED, start=1)}
    count(lane, at, max_wait_seconds=7, **figures)
    count(lane, at, shard=3, max_wait_seconds=9, **figures)
    count(lane, at + timedelta(minutes=59), max_wait_seconds=8, **figures)
    before = sums()
    assert sum_up(lane) == 1
    assert sums() == before
    assert before["done"] == 3
    assert rows(lane) == [(at, HOURLY, 3)]


def test_hours_are_apart_and_become_a_day(lane: Lane) -> None:
    for days_ago in (4, 20):
        for hour in (0, 5, 23):
            count(lane, midnight(days_ago) + hour * HOUR, done=2)
    assert sum_up(lane) == 3 + 3 + 1
    day, old = midnight(4), midnight(20)
    hours = [(day + hour * HOUR, HOURLY, 2) for hour in (0, 5, 23)]
    assert rows(lane) == [(old, DAILY, 6), *hours]


def test_what_comes_to_an_hour_late_is_added_to_it(lane: Lane) -> None:
    at = midnight(3)
    for minute in (1, 2):
        count(lane, at + timedelta(minutes=minute), done=1)
        sum_up(lane)
    assert rows(lane) == [(at, HOURLY, 2)]


def test_young_minutes_stay_as_they_are(lane: Lane) -> None:
    minute = (database_time() - timedelta(hours=47)).replace(second=0, microsecond=0)
    count(lane, minute, done=1)
    count(lane, minute, shard=1, done=1)
    assert sum_up(lane) == 0
    assert len(rows(lane)) == 2


def test_lanes_stay_apart(lane: Lane, mallory: Tenant) -> None:
    other = lane_of(mallory)
    for one in (lane, other):
        count(one, midnight(4) + timedelta(minutes=1), done=1)
    assert sum_up(lane) == 1
    assert [minute for minute, *_ in rows(other)] == [midnight(4) + timedelta(minutes=1)]


@pytest.mark.django_db(transaction=True)
def test_those_who_add_up_at_once_count_nothing_twice(lane: Lane) -> None:
    for minute in range(120):
        count(lane, midnight(4) + timedelta(minutes=minute), done=1)
    together([lambda: sum_up(lane) for _ in range(4)])
    assert [done for *_, done in rows(lane)] == [60, 60]
