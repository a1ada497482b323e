"""Former minutes are added up, of each length of time at once: no count is lost or there twice."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import store
from jobs.models import Lane, LaneMinute, LanePeriod, Tenant
from jobs.store.minutes import EVERYBODY, Length, count_minutes, read_counts, total
from jobs.store.minutes import LaneKey as Key
from tests.store.steps import database_time, lane_of, together

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ADDED = ("done", "failed", "dead", "cancelled", "started", "purged", "wait_seconds", "run_seconds")
ALL = (*ADDED, "max_wait_seconds")


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


def by_time(lane: Lane, length: Length, **whose: Any) -> dict[datetime, int]:
    """How many were done when, by what is added up so far and what is not."""
    rows = read_counts("minute", ("done",), length, [lane.tenant_id], **whose)
    found: dict[datetime, int] = {}
    for second, (done,) in rows.items():
        start = datetime.fromtimestamp(second - second % (length or 10**10), UTC)
        found[start] = found.get(start, 0) + done
    return found


def everywhere(lane: Lane) -> list[dict[datetime, int]]:
    """The same for each length, of the lane, its tenant and everybody."""
    return [
        by_time(lane, length, **whose)
        for length in Length
        for whose in ({"lane_ids": [lane.pk]}, {}, {"of_all": True})
    ]


def sum_up(tenant_id: int) -> int:
    """Add up all that is due; answers in how many steps."""
    steps = 0
    while store.sum_up(tenant_id):
        steps += 1
        assert steps < 1_000, "it adds up the same again and again"
    return steps


def test_a_minute_is_in_the_sums_of_each_length_with_all_its_figures(lane: Lane) -> None:
    at = midnight(1) + 5 * HOUR
    figures: dict[str, float] = {name: number for number, name in enumerate(ADDED, start=1)}
    for shard, longest in ((0, 7), (3, 9)):
        count(lane, at, shard=shard, max_wait_seconds=longest, **figures)
    count(lane, at + 59 * MINUTE, max_wait_seconds=8, **figures)
    expected = (*(3 * number for number in figures.values()), 9)
    before = everywhere(lane)
    assert total(ALL[:-1], [lane.tenant_id]) == expected[:-1]
    assert sum_up(lane.tenant_id) == 1
    assert not LaneMinute.objects.exists()
    assert everywhere(lane) == before
    for length in Length:
        for key in ("tenant_id", "lane_id"):
            (sums,) = read_counts(key, ALL, length, [lane.tenant_id]).values()
            assert sums == expected


def test_times_apart_are_in_sums_apart(lane: Lane) -> None:
    day, before = midnight(1), midnight(1) - HOUR
    for at in (before, day, day + MINUTE, day + 23 * HOUR):
        count(lane, at, done=1)
    sum_up(lane.tenant_id)
    whole = {before: 1, day: 1, day + MINUTE: 1, day + 23 * HOUR: 1}
    assert by_time(lane, Length.MINUTE) == whole
    assert by_time(lane, Length.HOUR) == {before: 1, day: 2, day + 23 * HOUR: 1}
    assert by_time(lane, Length.DAY) == {day - DAY: 1, day: 3}
    assert list(by_time(lane, Length.EVER).values()) == [4]


def test_what_is_counted_late_is_added(lane: Lane) -> None:
    at = midnight(1)
    for minute in (1, 2, 1):
        count(lane, at + minute * MINUTE, done=1)
        sum_up(lane.tenant_id)
    assert by_time(lane, Length.HOUR) == by_time(lane, Length.DAY) == {at: 3}
    assert by_time(lane, Length.MINUTE) == {at + MINUTE: 2, at + 2 * MINUTE: 1}


def test_an_hour_counts_whether_it_is_added_up_or_only_a_part_of_it(lane: Lane) -> None:
    at = midnight(1)
    count(lane, at, done=1)
    sum_up(lane.tenant_id)
    count(lane, at + MINUTE, done=2)
    assert by_time(lane, Length.HOUR) == by_time(lane, Length.HOUR, of_all=True) == {at: 3}
    assert total(("done", "dead"), [lane.tenant_id]) == (3, 0)


def test_the_last_hour_is_in_minutes_alone(lane: Lane) -> None:
    now = database_time().replace(second=0, microsecond=0)
    for ago in (0, 30, 59):
        count(lane, now - ago * MINUTE, done=1)
    count_minutes("w", {Key(lane.pk, lane.tenant_id): {"done": 1}})
    assert sum_up(lane.tenant_id) == 0
    assert not LanePeriod.objects.exists()
    assert total(("done",), [lane.tenant_id]) == (4,)


def test_tenants_and_lanes_stay_apart(lane: Lane, mallory: Tenant) -> None:
    beside, other = lane_of(lane.tenant, "mail"), lane_of(mallory)
    for done, one in ((1, lane), (10, beside), (100, other)):
        count(one, midnight(1), done=done)
    assert sum_up(lane.tenant_id) == 1
    (left,) = LaneMinute.objects.all()
    assert left.tenant_id == mallory.pk
    sum_up(mallory.pk)
    ids = [lane.tenant_id, mallory.pk]
    by_tenant = read_counts("tenant_id", ("done",), Length.DAY, ids)
    by_lane = read_counts("lane_id", ("done",), Length.EVER, ids)
    assert by_tenant == {lane.tenant_id: (11,), mallory.pk: (100,)}
    assert by_lane == {lane.pk: (1,), beside.pk: (10,), other.pk: (100,)}
    assert list(by_time(lane, Length.HOUR, of_all=True).values()) == [111]
    assert by_time(lane, Length.DAY, lane_ids=[beside.pk]) == {midnight(1): 10}


def test_only_what_is_asked_for_is_read(lane: Lane) -> None:
    day = midnight(3)
    for at in (day - HOUR, day, day + HOUR):
        count(lane, at, done=1)
    sum_up(lane.tenant_id)
    for at in (day - HOUR, day, day + HOUR):
        count(lane, at, shard=1, done=1)
    asked = ("minute", ("done",), Length.HOUR, [lane.tenant_id], day, day + HOUR)
    assert read_counts(*asked) == {int(day.timestamp()): (2,)}


def test_old_sums_of_minutes_and_hours_are_forgotten(lane: Lane) -> None:
    for days_ago in (1, 5, 20):
        count(lane, midnight(days_ago), done=1)
    sum_up(lane.tenant_id)
    sum_up(EVERYBODY)
    for of_all in (False, True):
        kept = {length: len(by_time(lane, length, of_all=of_all)) for length in Length}
        assert kept == {Length.EVER: 1, Length.MINUTE: 1, Length.HOUR: 2, Length.DAY: 3}
    assert total(("done",), [lane.tenant_id]) == (3,)


def test_many_minutes_are_added_up_some_at_a_time(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.minutes.AT_ONCE", 2)
    for minute in range(5):
        count(lane, midnight(1) + minute * MINUTE, done=1)
    assert sum_up(lane.tenant_id) == 3
    assert by_time(lane, Length.HOUR) == {midnight(1): 5}


@pytest.mark.django_db(transaction=True)
def test_those_who_add_up_at_once_count_nothing_twice(lane: Lane) -> None:
    for minute in range(120):
        count(lane, midnight(1) + minute * MINUTE, done=1)
    together([lambda: sum_up(lane.tenant_id) for _ in range(4)])
    assert by_time(lane, Length.HOUR) == {midnight(1): 60, midnight(1) + HOUR: 60}
    assert by_time(lane, Length.DAY, of_all=True) == {midnight(1): 120}


@pytest.mark.django_db(transaction=True)
def test_who_reads_meanwhile_finds_each_count_once(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.store.minutes.AT_ONCE", 3)
    for minute in range(120):
        count(lane, midnight(1) + minute * MINUTE, done=1)

    def read() -> None:
        until = time.monotonic() + 60
        while LaneMinute.objects.exists() and time.monotonic() < until:
            for length in Length:
                assert sum(by_time(lane, length).values()) == 120

    together([lambda: sum_up(lane.tenant_id), read])
