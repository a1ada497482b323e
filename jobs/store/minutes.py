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


# The rows are written in the order of their lanes, so that two batches never wait for each other.
_COUNT_MINUTE = """
INSERT INTO jobs_laneminute (lane_id, tenant_id, minute, shard, done, failed, dead, cancelled,
    started, wait_seconds, max_wait_seconds, run_seconds)
VALUES (%(lane_id)s, %(tenant_id)s, MINUTE(), %(shard)s, %(done)s, %(failed)s, %(dead)s,
    %(cancelled)s, %(started)s, %(wait)s, %(max_wait)s, %(run)s)
ON CONFLICT (lane_id, minute, shard) DO UPDATE SET
    done = jobs_laneminute.done + excluded.done, failed = jobs_laneminute.failed + excluded.failed,
    dead = jobs_laneminute.dead + excluded.dead,
    cancelled = jobs_laneminute.cancelled + excluded.cancelled,
    started = jobs_laneminute.started + excluded.started,
    wait_seconds = jobs_laneminute.wait_seconds + excluded.wait_seconds,
    max_wait_seconds = CASE WHEN jobs_laneminute.max_wait_seconds > excluded.max_wait_seconds
        THEN jobs_laneminute.max_wait_seconds ELSE excluded.max_wait_seconds END,
    run_seconds = jobs_laneminute.run_seconds + excluded.run_seconds"""

_NOTHING = {
    "done": 0, "failed": 0, "dead": 0, "cancelled": 0, "started": 0,
    "wait": 0.0, "max_wait": 0.0, "run": 0.0,
}  # fmt: skip


def count_minutes(writer: str, figures: Mapping[LaneKey, Mapping[str, float]]) -> None:
    """Add the figures of each lane to the present minute; what a figure lacks is nothing.

    `writer` keeps those who count at the same time off each other's rows.
    """
    shard = crc32(writer.encode()) % SHARDS
    rows = [
        _NOTHING | {"lane_id": key.lane_id, "tenant_id": key.tenant_id, "shard": shard} | dict(of)
        for key, of in sorted(figures.items())
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql(_COUNT_MINUTE), rows)


def count_cancelled(lanes: Iterable[LaneKey]) -> None:
    """Count jobs that were cancelled outside of an attempt: the lane of each."""
    count_minutes("", {key: {"cancelled": jobs} for key, jobs in Counter(lanes).items()})
