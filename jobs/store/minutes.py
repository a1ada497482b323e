"""What ended, counted per lane and minute in the transaction that ends it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from django.db import connection

from jobs.store.dialect import sql

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

_COUNT_MINUTE = f"""
INSERT INTO jobs_laneminute AS counter ({MINUTE_COLUMNS})
VALUES (%(lane_id)s, %(tenant_id)s, MINUTE(), %(shard)s, %(done)s, %(failed)s, %(dead)s,
    %(cancelled)s, %(started)s, %(wait)s, %(max_wait)s, %(run)s)
{ADD_TO_MINUTE}"""

_NOTHING = {
    "done": 0, "failed": 0, "dead": 0, "cancelled": 0, "started": 0,
    "wait": 0.0, "max_wait": 0.0, "run": 0.0,
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
