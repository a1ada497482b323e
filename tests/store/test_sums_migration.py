"""What was counted before there were sums beside each other is in all of them, and comes back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from jobs.models import LaneMinute, LanePeriod
from jobs.store.minutes import Length, read_counts, total
from tests.store.steps import database_time

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = "0016_waits", "0017_sums"
HOURLY, DAILY = 32, 33


def migrate(name: str) -> None:
    """Bring the tables of jobs to this state."""
    MigrationExecutor(connection).migrate([("jobs", name)])


@pytest.fixture
def before() -> Iterator[None]:
    """The tables as they were; as they are again afterwards."""
    migrate(BEFORE)
    yield
    MigrationExecutor(connection).migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())


def midnight(days_ago: int) -> datetime:
    """The beginning of a day."""
    today = database_time().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days_ago)


def count(tenant_id: int, lane_id: int, minute: datetime, shard: int = 0) -> None:
    """A row as it was kept: of a minute, an hour or a day."""
    LaneMinute.objects.create(
        tenant_id=tenant_id, lane_id=lane_id, minute=minute, shard=shard, done=1, max_wait_seconds=2
    )


@pytest.mark.usefixtures("before")
def test_all_that_was_counted_is_in_the_sums_and_comes_back() -> None:
    now = database_time().replace(second=0, microsecond=0)
    yesterday, days = midnight(1), {ago: midnight(ago) for ago in (5, 30)}
    for tenant_id, lane_id in ((1, 11), (1, 12), (2, 21)):
        for shard in (0, 7):
            count(tenant_id, lane_id, now, shard)
            count(tenant_id, lane_id, yesterday, shard)
        count(tenant_id, lane_id, days[5], HOURLY)
        count(tenant_id, lane_id, days[30], DAILY)
    migrate(AFTER)
    assert LaneMinute.objects.count() == 6
    assert total(("done",), [1]) == (12,)
    assert total(("done",), [1, 2]) == (18,)
    assert of(Length.MINUTE, [1]) == {yesterday: 4, now: 4}
    assert of(Length.HOUR, [2]) == {days[5]: 1, yesterday: 2, now: 2}
    everybody = {days[30]: 3, days[5]: 3, yesterday: 6, now: 6}
    assert of(Length.DAY, [1, 2], of_all=True) == everybody
    longest = read_counts("lane_id", ("max_wait_seconds", "done"), Length.EVER, [1, 2])
    assert longest == dict.fromkeys((11, 12, 21), (2, 6))
    migrate(BEFORE)
    assert LaneMinute.objects.count() == 6 + 3 * 3
    assert not connection.introspection.table_names().count(LanePeriod._meta.db_table)
    migrate(AFTER)
    assert total(("done",), [1, 2]) == (18,)


def of(length: Length, tenant_ids: list[int], **whose: bool) -> dict[datetime, int]:
    """How many were done when."""
    rows = read_counts("minute", ("done",), length, tenant_ids, **whose)
    return {datetime.fromtimestamp(at, UTC): done for at, (done,) in rows.items()}
