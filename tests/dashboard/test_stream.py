"""The feed: one read a second while somebody watches, and news for each tenant alone."""

import asyncio
from collections.abc import Collection

import pytest
from django.db import OperationalError

from dashboard.snapshot import REGIONS, Figures, Snapshot
from dashboard.stream import Feed, Subscriber

TICK = 0.02


def figures(number: int) -> Figures:
    return Figures(*[number] * len(Figures._fields))


class Source:
    """Stands in for the database: counts the reads and answers what it is told to."""

    def __init__(self) -> None:
        self.reads: list[frozenset[int] | None] = []
        self.now: dict[int, Figures] = {1: figures(0), 2: figures(0)}
        self.error: Exception | None = None

    async def __call__(self, tenant_ids: Collection[int] | None) -> Snapshot:
        self.reads.append(None if tenant_ids is None else frozenset(tenant_ids))
        if self.error:
            raise self.error
        asked = self.now if tenant_ids is None else self.now.keys() & tenant_ids
        return {tenant_id: self.now[tenant_id] for tenant_id in asked}


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def feed(source: Source) -> Feed:
    return Feed(lambda: source, interval=TICK)


def subscriber(*tenant_ids: int) -> Subscriber:
    made = Subscriber(frozenset(tenant_ids) or None)
    made.take()
    return made


async def reads(source: Source, more: int) -> None:
    goal = len(source.reads) + more
    while len(source.reads) < goal:
        await asyncio.sleep(TICK / 4)


async def test_a_new_subscriber_is_told_to_fetch_everything() -> None:
    assert set(Subscriber(None).take()) == set(REGIONS)


async def test_nothing_is_read_while_nobody_watches(source: Source, feed: Feed) -> None:
    await asyncio.sleep(TICK * 3)
    assert source.reads == []

    one, two = subscriber(1), subscriber(1)
    feed.join(one)
    feed.join(two)
    await reads(source, 2)
    feed.leave(one)
    await reads(source, 2)
    feed.leave(two)

    after = len(source.reads)
    await asyncio.sleep(TICK * 5)
    assert len(source.reads) == after


async def test_many_subscribers_cost_one_read_a_tick(source: Source, feed: Feed) -> None:
    crowd = [subscriber(1) for _ in range(50)]
    for one in crowd:
        feed.join(one)

    await asyncio.sleep(TICK * 10)
    count = len(source.reads)
    for one in crowd:
        feed.leave(one)

    assert 2 <= count <= 11


async def test_news_goes_to_the_tenants_it_is_about(source: Source, feed: Feed) -> None:
    hers, theirs, operators = subscriber(1), subscriber(2), subscriber()
    for one in (hers, theirs, operators):
        feed.join(one)
    await reads(source, 2)
    for one in (hers, theirs, operators):
        one.take()

    source.now[1] = figures(1)
    await reads(source, 2)
    for one in (hers, theirs, operators):
        feed.leave(one)

    assert set(hers.take()) == set(operators.take()) == set(REGIONS)
    assert theirs.take() == []


async def test_what_is_not_taken_merges_and_never_grows(source: Source, feed: Feed) -> None:
    slow = subscriber(1)
    feed.join(slow)

    for number in range(20):
        source.now[1] = figures(number)
        await reads(source, 1)
    feed.leave(slow)

    assert len(slow.pending) <= len(REGIONS)


async def test_only_watched_tenants_are_asked_for(source: Source, feed: Feed) -> None:
    hers, operators = subscriber(1), subscriber()
    feed.join(hers)
    await reads(source, 2)
    feed.join(operators)
    await reads(source, 2)
    for one in (hers, operators):
        feed.leave(one)

    assert source.reads[0] == frozenset({1})
    assert source.reads[-1] is None


async def test_a_database_that_is_away_is_told_and_survived(
    source: Source, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    one = subscriber(1)
    feed.join(one)
    await reads(source, 1)
    one.take()

    source.error = OperationalError("the database is starting up")
    await asyncio.wait_for(one.news.wait(), 2)
    assert one.is_behind
    assert one.take() == []

    source.error, source.now[1] = None, figures(9)
    await asyncio.wait_for(one.news.wait(), 5)
    feed.leave(one)

    assert not one.is_behind
    assert set(one.take()) == set(REGIONS)
    assert "cannot read the database" in caplog.text


async def test_it_starts_again_after_everybody_left(source: Source, feed: Feed) -> None:
    for _ in range(2):
        one = subscriber(1)
        feed.join(one)
        await reads(source, 1)
        feed.leave(one)


async def test_what_changed_before_a_tenant_was_first_read_is_told(
    source: Source, feed: Feed
) -> None:
    hers, theirs = subscriber(1), subscriber(2)
    feed.join(theirs)
    await reads(source, 2)

    feed.join(hers)  # the page shows what there is now
    source.now[1] = figures(1)
    await reads(source, 2)
    for one in (hers, theirs):
        feed.leave(one)

    assert set(hers.take()) == set(REGIONS)
