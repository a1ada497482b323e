"""What ended, counted per lane and minute in the transaction that ends it.

Old minutes are added up, so that sums over all of the past stay cheap.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from zlib import crc32

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.models import LaneMinute
from jobs.store.dialect import array, one_writer, sql

SHARDS = 32


class LaneKey(NamedTuple):
    """Whose figures: a lane and its tenant."""

    lane_id: int
    tenant_id: int


MINUTE_COLUMNS = """
    lane_id, tenant_id, minute, shard, done, failed, dead, cancelled, started, wait_seconds,
    max_wait_seconds, run_seconds"""
ADD_TO_MINUTE = """
    ON CONFLICT (lane_id, minute, shard) DO UPDATE SET
        done = counter.done + excluded.done, failed = counter.failed + excluded.failed,
        dead = counter.dead + excluded.dead, cancelled = counter.cancelled + excluded.cancelled,
        started = counter.started + excluded.started,
        wait_seconds = counter.wait_seconds + excluded.wait_seconds,
        max_wait_seconds = CASE WHEN counter.max_wait_seconds > excluded.max_wait_seconds
            THEN counter.max_wait_seconds ELSE excluded.max_wait_seconds END,
        run_seconds = counter.run_seconds + excluded.run_seconds"""
"""What an insert into the minutes, called `counter`, does where the minute has a row already.

Write the rows in the order of their lanes, so that two batches never wait for each other.
"""

_ADD_PURGED = f"{ADD_TO_MINUTE}, purged = counter.purged + excluded.purged"
_COUNT_MINUTE = f"""
INSERT INTO jobs_laneminute AS counter ({MINUTE_COLUMNS}, purged)
VALUES (%(lane_id)s, %(tenant_id)s, MINUTE(), %(shard)s, %(done)s, %(failed)s, %(dead)s,
    %(cancelled)s, %(started)s, %(wait)s, %(max_wait)s, %(run)s, %(purged)s)
{_ADD_PURGED}"""

_NOTHING = {
    "done": 0, "failed": 0, "dead": 0, "cancelled": 0, "started": 0,
    "wait": 0.0, "max_wait": 0.0, "run": 0.0, "purged": 0,
}  # fmt: skip


def shard(writer: str) -> int:
    """Which of the rows of a minute `writer` counts in: those who count at once have their own."""
    return crc32(writer.encode()) % SHARDS


def count_minutes(writer: str, figures: Mapping[LaneKey, Mapping[str, float]]) -> None:
    """Add the figures of each lane to the present minute; what a figure lacks is nothing."""
    own = {"shard": shard(writer)}
    rows = [
        _NOTHING | {"lane_id": key.lane_id, "tenant_id": key.tenant_id} | own | dict(of)
        for key, of in sorted(figures.items())
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql(_COUNT_MINUTE), rows)


def count_cancelled(lanes: Iterable[LaneKey]) -> None:
    """Count jobs that were cancelled outside of an attempt: the lane of each."""
    count_minutes("", {key: {"cancelled": jobs} for key, jobs in Counter(lanes).items()})


def count_purged(lanes: Iterable[LaneKey]) -> None:
    """Count jobs that were deleted: the lane of each."""
    count_minutes("", {key: {"purged": jobs} for key, jobs in Counter(lanes).items()})


class Period(NamedTuple):
    """A longer time whose rows are added up into one, of this shard, when they are so old."""

    length: timedelta
    after: timedelta
    shard: int


PERIODS = (
    Period(timedelta(hours=1), after=timedelta(days=2), shard=SHARDS),
    Period(timedelta(days=1), after=timedelta(days=14), shard=SHARDS + 1),
)

_SUM_UP = f"""
INSERT INTO jobs_laneminute AS counter ({MINUTE_COLUMNS}, purged)
SELECT lane_id, tenant_id, %(start)s, %(shard)s, sum(done), sum(failed), sum(dead),
    sum(cancelled), sum(started), sum(wait_seconds), max(max_wait_seconds), sum(run_seconds),
    sum(purged)
FROM jobs_laneminute WHERE id = ANY(%(ids)s) GROUP BY lane_id, tenant_id
{_ADD_PURGED}"""
_FORGET = "DELETE FROM jobs_laneminute WHERE id = ANY(%(ids)s)"


def sum_up(lane_id: int) -> bool:
    """Add up the lane's oldest hour or day that is due to be; answers whether there was one."""
    return sum_up_rows(LaneMinute.objects.filter(lane_id=lane_id), PERIODS, (_SUM_UP, _FORGET))


def sum_up_rows(
    counts: QuerySet[Any], periods: Sequence[Period], statements: Sequence[str]
) -> bool:
    """Have the oldest of the periods that is due added up; answers whether there was one.

    The periods come with the shortest first, their shards rise. The statements get the ids of the
    rows, the start, and the shard of the sum. Nobody adds to the rows any more. Who does the same
    at the same time waits, and finds none left.
    """
    return any(_sum_up_oldest(counts, period, statements) for period in periods)


def _sum_up_oldest(counts: QuerySet[Any], period: Period, statements: Sequence[str]) -> bool:
    shorter = counts.filter(shard__lt=period.shard)
    due = shorter.filter(minute__lt=Now() - period.after)
    oldest = due.order_by("minute").values_list("minute", flat=True).first()
    if oldest is None:
        return False
    start = oldest - timedelta(seconds=oldest.timestamp() % period.length.total_seconds())
    rows = shorter.filter(minute__gte=start, minute__lt=start + period.length)
    with one_writer(), connection.cursor() as cursor:
        ids = array(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
        moment = connection.ops.adapt_datetimefield_value(start)
        of = {"ids": ids, "start": moment, "shard": period.shard}
        for statement in statements:
            cursor.execute(sql(statement), of)
    return True
