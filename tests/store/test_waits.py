"""Waits are counted by their lengths, in memory first, and told as percentiles."""

import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as some

from jobs import store
from jobs.models import Tenant, WaitMinute
from jobs.statuses import Status
from jobs.store import Outcome, Waits, waits
from jobs.store.minutes import EVERYBODY
from jobs.store.waits import PERIODS, bucket_of, percentile, read_waits
from tests.store.steps import database_time, together

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
QUARTERLY, HOURLY, DAILY = [period.shard for period in PERIODS]


@pytest.fixture
def counted(db: None) -> Waits:
    """What counts; nothing is counted yet."""
    return Waits()


def ended(tenant_id: int, *waited: float) -> list[Outcome]:
    """Attempts that had waited for so many seconds."""
    alike: Any = {"fence": 1, "lane_id": 1, "tenant_id": tenant_id, "status": Status.DONE}
    return [Outcome(job_id=uuid.uuid4(), waited_seconds=one, **alike) for one in waited]


def add(tenant_id: int, minute: datetime, shard: int = 0, **of_buckets: int) -> None:
    """Have this been counted: `b3=7` for 7 attempts in bucket 3."""
    for bucket, attempts in of_buckets.items():
        WaitMinute.objects.create(
            tenant_id=tenant_id,
            minute=minute,
            shard=shard,
            bucket=int(bucket[1:]),
            attempts=attempts,
        )


def midnight(days_ago: int) -> datetime:
    """The beginning of a day."""
    today = database_time().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - days_ago * DAY


def rows(tenant_id: int) -> list[tuple[datetime, int, int, int]]:
    """What is stored of a tenant: when, the shards, the buckets, and how many."""
    found = WaitMinute.objects.filter(tenant_id=tenant_id).order_by("minute", "shard", "bucket")
    return list(found.values_list("minute", "shard", "bucket", "attempts"))


def lately(*tenant_ids: int) -> Counter[int]:
    """What was counted of these tenants in the last hour, by bucket."""
    now = database_time().astimezone(UTC)
    found: Counter[int] = Counter()
    read = read_waits(tenant_ids, now - HOUR, now + HOUR, step_seconds=60)
    for _, bucket, attempts in read:
        found[bucket] += attempts
    return found


def buckets(waited: Iterable[float]) -> Counter[int]:
    """The buckets of these waits."""
    return Counter(bucket_of(seconds) for seconds in waited)


@given(
    some.lists(some.floats(0, 1e8), min_size=1, max_size=300),
    some.sampled_from([1, 50, 95, 99, 100]),
)
def test_a_percentile_is_off_by_a_tenth_at_most(waited: list[float], percent: int) -> None:
    exact = sorted(waited)[ceil(len(waited) * percent / 100) - 1]
    told = percentile(buckets(waited), percent)
    assert told is not None
    assert abs(told - exact) <= 0.091 * (exact + 0.001)


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile({}, 95) is None


def test_longer_waits_are_never_in_lower_buckets() -> None:
    found = [bucket_of(seconds) for seconds in (-3.0, 0.0, 1e-9, 0.001, 0.0011, 1, 60, 3e9)]
    assert found == sorted(found)
    assert found[:2] == [0, 0]
    assert found[-1] < 200


def test_waits_are_written_for_their_tenants_and_for_everybody(counted: Waits) -> None:
    counted.note(ended(7, 0.5, 0.5, 60))
    counted.note(ended(8, 0.5))
    assert not WaitMinute.objects.exists()
    counted.write()
    assert lately(7) == buckets([0.5, 0.5, 60])
    assert lately(8) == buckets([0.5])
    assert lately(7, 8) == lately(EVERYBODY) == buckets([0.5, 0.5, 0.5, 60])


def test_what_is_written_again_is_added(counted: Waits) -> None:
    for _ in range(3):
        counted.note(ended(7, 2, 3))
        counted.write()
        counted.write()
    assert lately(7) == buckets([2, 3] * 3)


def test_a_thousand_tenants_are_one_statement(counted: Waits) -> None:
    for tenant_id in range(1, 1_001):
        counted.note(ended(tenant_id, 0.01, 5))
    with CaptureQueriesContext(connection) as seen:
        counted.write()
    assert len([one for one in seen if "jobs_waitminute" in one["sql"]]) == 1
    assert lately(EVERYBODY) == buckets([0.01, 5] * 1_000)
    assert lately(*range(1, 1_001)) == lately(EVERYBODY)


class Clock:
    """The clock that the counting looks at: it goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still, from before anything is counted."""
    standing = Clock()
    monkeypatch.setattr(waits, "time", standing)
    return standing


def writing_takes(monkeypatch: pytest.MonkeyPatch, clock: Clock, seconds: float) -> None:
    """Let the database take so long from now on."""

    add = waits._add

    def take_long(rows: list[Any]) -> None:
        clock.now += seconds
        add(rows)

    monkeypatch.setattr(waits, "_add", take_long)


def minute_of(seconds_ago: float) -> datetime:
    """The minute of the database's clock that was so long ago."""
    then = database_time().astimezone(UTC) - timedelta(seconds=seconds_ago)
    return then.replace(second=0, microsecond=0)


def test_each_is_counted_in_the_minute_of_its_end(clock: Clock, counted: Waits) -> None:
    counted.note(ended(7, 1))  # at 1000, the first of the ten seconds around 1005
    clock.now += 60
    counted.note(ended(7, 1))
    clock.now += 45
    before = minute_of(100)
    counted.write()
    first, second = [minute for minute, *_ in rows(7)]
    assert second - first == timedelta(minutes=1)
    assert before <= first <= minute_of(100)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many counts each statement that is run from now on gets."""
    sizes: list[int] = []
    add = waits._add

    def tell(rows: list[Any]) -> None:
        sizes.append(len(rows))
        add(rows)

    monkeypatch.setattr(waits, "_add", tell)
    return sizes


def test_what_ended_within_ten_seconds_is_one_count(
    clock: Clock, counted: Waits, sent: list[int]
) -> None:
    for _ in range(20):
        counted.note(ended(7, 1, 1, 5))
        clock.now += 1
    counted.write()
    assert sent == [2 * 2 * 2], "two times ten seconds, two lengths, the tenant and everybody"
    assert lately(7) == buckets([1, 1, 5] * 20)


@pytest.mark.parametrize("late", [3, 100])
def test_what_is_written_minutes_late_is_put_in_the_minute_of_the_writing(
    clock: Clock, counted: Waits, late: int
) -> None:
    counted.note(ended(7, 1))
    clock.now += 60 * late
    before = minute_of(0)
    counted.write()
    ((at, *_),) = rows(7)
    assert before <= at <= minute_of(0)


def test_it_is_written_every_few_seconds_and_at_once_after_quiet_ones(
    clock: Clock, counted: Waits
) -> None:
    for second, written in [(1, 0), (4.9, 0), (5, 3), (6, 3), (9.9, 3), (10, 6), (30, 7), (31, 7)]:
        clock.now = 1_000 + second
        counted.note(ended(7, 1))
        counted.write_if_due()
        assert sum(lately(7).values()) == written


@pytest.mark.parametrize(("took", "rest"), [(0.01, 5), (1, 50), (1.2, 60), (30, 60)])
def test_what_takes_long_to_write_is_written_less_often_but_each_minute(
    clock: Clock, counted: Waits, monkeypatch: pytest.MonkeyPatch, took: float, rest: float
) -> None:
    writing_takes(monkeypatch, clock, took)
    began = clock.now
    counted.note(ended(7, 1))
    counted.write()
    counted.note(ended(7, 1))
    for second, written in [(rest - 0.1, 1), (rest, 2)]:
        clock.now = began + max(second, took)
        counted.write_if_due()
        assert sum(lately(7).values()) == written


def test_many_counts_are_written_at_once(
    clock: Clock, counted: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "MAX_COUNTS", 3)
    counted.note(ended(7, 1, 5))
    counted.write_if_due()
    assert rows(7) == []
    counted.note(ended(7, 25))
    counted.write_if_due()
    assert lately(7) == buckets([1, 5, 25])


def test_a_longer_rest_leaves_hardly_more_to_write(
    clock: Clock, counted: Waits, sent: list[int]
) -> None:
    """A write that took longer the longer it rested would rest ever longer."""
    for rest in (5, 60):
        for _ in range(rest):
            for tenant_id in range(1, 21):
                counted.note(ended(tenant_id, 0.01, 1))
            clock.now += 1
        counted.write()
    short, long = sent
    assert long <= 7 * short


def test_a_database_that_refuses_costs_the_counts_alone(
    clock: Clock,
    counted: Waits,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(rows: list[Any]) -> None:
        clock.now += 20
        raise OperationalError("no room")

    counted.note(ended(7, 1))
    with monkeypatch.context() as broken:
        broken.setattr(waits, "_add", refuse)
        counted.write()
    assert "the waits of jobs were not counted" in caplog.text
    counted.note(ended(7, 1))
    clock.now += 5
    counted.write_if_due()
    assert lately(7) == buckets([1]), "how long it refused says nothing of how long writing takes"


@pytest.mark.django_db(transaction=True)
def test_processes_that_write_at_once_lose_nothing() -> None:
    def write(seed: int) -> None:
        own = Waits()
        for _ in range(5):
            for tenant_id in range(1, 40) if seed % 2 else range(39, 0, -1):
                own.note(ended(tenant_id, 0.01, 0.1, 1))
            own.write()

    together([lambda seed=seed: write(seed) for seed in range(4)])  # type: ignore[misc]
    assert lately(3) == buckets([0.01, 0.1, 1] * 20)
    assert sum(lately(EVERYBODY).values()) == 4 * 5 * 39 * 3


def test_rows_are_written_in_one_order_so_that_processes_do_not_wait_crosswise(db: None) -> None:
    own = Waits()
    for tenant_id in (5, 3, 9, 1, 8, 2):
        own.note(ended(tenant_id, 1, 0.01, 0.1))
    own.write()
    rows = WaitMinute.objects.order_by("pk").values_list("tenant_id", "minute", "bucket")
    assert list(rows) == sorted(rows, key=lambda row: (-row[0], *row[1:]))
    assert len(rows) == 3 * 7


def test_waits_are_read_by_steps_of_time(db: None) -> None:
    at = midnight(1)
    add(7, at, b3=1, b9=4)
    add(7, at + timedelta(minutes=59), b3=2)
    add(7, at + HOUR, b3=8)
    add(7, at + 3 * HOUR, b3=16)
    add(8, at, b3=32)
    read = read_waits([7], at, at + 2 * HOUR, step_seconds=3_600)
    start = int(at.timestamp())
    assert sorted(read) == [(start, 3, 3), (start, 9, 4), (start + 3_600, 3, 8)]


@pytest.mark.django_db
class TestOldCounts:
    """They are added up into quarters of hours, hours and days, and deleted in the end."""

    def sum_up(self, tenant_id: int = 7) -> int:
        """Do all that is due; answers in how many steps."""
        steps = 0
        while store.sum_up_waits(tenant_id):
            steps += 1
        return steps

    def test_minutes_become_quarters_of_hours(self) -> None:
        hour = (database_time() - 9 * HOUR).replace(minute=0, second=0, microsecond=0)
        for minute in (15, 29, 30):
            add(7, hour + timedelta(minutes=minute), b3=minute)
        assert self.sum_up() == 2
        second, third = hour + timedelta(minutes=15), hour + timedelta(minutes=30)
        assert rows(7) == [(second, QUARTERLY, 3, 44), (third, QUARTERLY, 3, 30)]

    def test_quarters_become_hours(self) -> None:
        at = midnight(4)
        for quarter in range(5):
            add(7, at + quarter * timedelta(minutes=15), QUARTERLY, b3=1)
        assert self.sum_up() == 2
        assert rows(7) == [(at, HOURLY, 3, 4), (at + HOUR, HOURLY, 3, 1)]

    def test_minutes_become_hours(self) -> None:
        at = midnight(4) + 5 * HOUR
        add(7, at, b3=1, b9=2)
        add(7, at + timedelta(minutes=59), b3=4)
        add(7, at + HOUR, b3=8)
        self.sum_up()
        assert rows(7) == [(at, HOURLY, 3, 5), (at, HOURLY, 9, 2), (at + HOUR, HOURLY, 3, 8)]

    def test_hours_become_days(self) -> None:
        at = midnight(20)
        add(7, at, HOURLY, b3=1)
        add(7, at + 23 * HOUR, HOURLY, b3=2, b4=1)
        assert self.sum_up() == 1
        assert rows(7) == [(at, DAILY, 3, 3), (at, DAILY, 4, 1)]

    def test_what_comes_late_is_added(self) -> None:
        at = midnight(4)
        for minute in (1, 2):
            add(7, at + timedelta(minutes=minute), b3=1)
            self.sum_up()
        assert rows(7) == [(at, HOURLY, 3, 2)]

    def test_young_minutes_and_other_tenants_stay_as_they_are(self) -> None:
        now = database_time().replace(second=0, microsecond=0)
        add(7, now - 6.9 * HOUR, b3=1)
        add(7, now - 47 * HOUR, QUARTERLY, b3=1)
        add(8, midnight(4) + timedelta(minutes=1), b3=1)
        assert self.sum_up() == 0
        assert [shard for _, shard, *_ in rows(7) + rows(8)] == [QUARTERLY, 0, 0]

    def test_what_is_older_than_any_chart_is_deleted(self) -> None:
        add(7, midnight(33), DAILY, b3=1, b4=1)
        add(7, midnight(30), DAILY, b3=1)
        add(8, midnight(33), DAILY, b3=1)
        self.sum_up()
        assert rows(7) == [(midnight(30), DAILY, 3, 1)]
        assert len(rows(8)) == 1

    def test_every_tenant_of_which_there_are_counts_has_its_turn(self) -> None:
        for tenant_id in (9, EVERYBODY, 4):
            add(tenant_id, midnight(1), b3=1, b4=1)
        found, tenant_id = [], store.next_with_waits(-1)
        while tenant_id is not None:
            found.append(tenant_id)
            tenant_id = store.next_with_waits(tenant_id)
        assert found == [EVERYBODY, 4, 9]

    def test_a_tenant_that_goes_takes_its_counts_along(self, alice: Tenant) -> None:
        add(alice.pk, midnight(1), b3=1)
        add(EVERYBODY, midnight(1), b3=1)
        assert store.forget_tenant(alice.pk)
        assert rows(alice.pk) == []
        assert len(rows(EVERYBODY)) == 1
