"""What ended, counted per lane and minute in the transaction that ends it.

When nobody counts in a minute any more it is added to sums: of its lane, its tenant and everybody,
for the minute, its hour, its day and all of time. Each count is either in a minute or in the sums
of every length, whoever counts late and whatever is broken off: so a total is those and these.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple
from zlib import crc32

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.models import LaneMinute, LanePeriod
from jobs.store.dialect import ALONE, array, fetch, is_postgresql, one_writer, sql

SHARDS = 32


class LaneKey(NamedTuple):
    """Whose figures: a lane and its tenant."""

    lane_id: int
    tenant_id: int


MINUTE_COLUMNS = """
    lane_id, tenant_id, minute, shard, done, failed, dead, cancelled, started, wait_seconds,
    max_wait_seconds, run_seconds"""
_ADD = """DO UPDATE SET
        done = counter.done + excluded.done, failed = counter.failed + excluded.failed,
        dead = counter.dead + excluded.dead, cancelled = counter.cancelled + excluded.cancelled,
        started = counter.started + excluded.started,
        wait_seconds = counter.wait_seconds + excluded.wait_seconds,
        max_wait_seconds = CASE WHEN counter.max_wait_seconds > excluded.max_wait_seconds
            THEN counter.max_wait_seconds ELSE excluded.max_wait_seconds END,
        run_seconds = counter.run_seconds + excluded.run_seconds"""
_ADD_PURGED = f"{_ADD}, purged = counter.purged + excluded.purged"
ADD_TO_MINUTE = f"""
    ON CONFLICT (lane_id, minute, shard) {_ADD}"""
"""What an insert into the minutes, called `counter`, does where the minute has a row already.

Write the rows in the order of their lanes, so that two batches never wait for each other.
"""

_COUNT_MINUTE = f"""
INSERT INTO jobs_laneminute AS counter ({MINUTE_COLUMNS}, purged)
VALUES (%(lane_id)s, %(tenant_id)s, MINUTE(), %(shard)s, %(done)s, %(failed)s, %(dead)s,
    %(cancelled)s, %(started)s, %(wait)s, %(max_wait)s, %(run)s, %(purged)s)
ON CONFLICT (lane_id, minute, shard) {_ADD_PURGED}"""

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


class Length(IntEnum):
    """For how many seconds counts are added up; `EVER` for all of time."""

    EVER = 0
    MINUTE = 60
    HOUR = 3_600
    DAY = 86_400


EVERYBODY = 0
"""The tenant whose sums are those of all tenants, also of those that were deleted since."""
_ALL_LANES = 0
"""The lane whose sums are those of all lanes of its tenant."""
OPEN_FOR = timedelta(hours=1)
"""What is younger is in minutes alone: what pages show of the last hour is read there."""
KEPT = {Length.MINUTE: timedelta(days=2), Length.HOUR: timedelta(days=14)}
"""How long there are sums of a length; of the others for ever."""
AT_ONCE = 1_000
"""So many rows are added up, or deleted, in one transaction."""

_LENGTHS = " UNION ALL ".join(f"SELECT {length.value} AS length" for length in Length)
_SUM_UP = f"""
INSERT INTO jobs_laneperiod AS counter (tenant_id, length, lane_id, minute, done, failed, dead,
    cancelled, started, wait_seconds, max_wait_seconds, run_seconds, purged)
SELECT tenant_id, length, lane_id, MINUTE_AT(start), sum(done), sum(failed), sum(dead),
    sum(cancelled), sum(started), sum(wait_seconds), max(max_wait_seconds), sum(run_seconds),
    sum(purged)
FROM (
    SELECT counted.tenant_id * one AS tenant_id, counted.lane_id * own AS lane_id, length,
        CASE length WHEN 0 THEN 0 ELSE second / length * length END AS start, done, failed, dead,
        cancelled, started, wait_seconds, max_wait_seconds, run_seconds, purged
    FROM (
        SELECT jobs_laneminute.*, MICROSECONDS(minute) / 1000000 AS second FROM jobs_laneminute
        WHERE id = ANY(%(ids)s)
    ) AS counted
    CROSS JOIN ({_LENGTHS}) AS lengths
    CROSS JOIN (SELECT 1 AS one, 1 AS own UNION ALL SELECT 1, 0 UNION ALL SELECT 0, 0) AS whose
) AS each
GROUP BY tenant_id, length, lane_id, start ORDER BY tenant_id DESC, length, lane_id, start
ON CONFLICT (tenant_id, length, lane_id, minute) {_ADD_PURGED}"""
_FORGET = "DELETE FROM jobs_laneminute WHERE id = ANY(%(ids)s)"


def sum_up(tenant_id: int) -> bool:
    """Add up some of the tenant's minutes that are due to be, or delete some sums that are too old.

    Answers whether there were any. Who does the same at the same time waits, and finds none left.
    """
    minutes = LaneMinute.objects.filter(tenant_id=tenant_id, minute__lt=Now() - OPEN_FOR)
    return _sum_up(minutes) or any(_forget_old(tenant_id, length) for length in KEPT)


def _sum_up(minutes: QuerySet[LaneMinute]) -> bool:
    if not minutes.exists():
        return False
    with one_writer(), connection.cursor() as cursor:
        oldest = minutes.order_by("minute", "pk").select_for_update()
        ids = array(oldest.values_list("pk", flat=True)[:AT_ONCE])
        for statement in (_SUM_UP, _FORGET):
            cursor.execute(sql(statement), {"ids": ids})
    return True


def _forget_old(tenant_id: int, length: Length) -> bool:
    sums = LanePeriod.objects.filter(tenant_id=tenant_id, length=length)
    old = sums.filter(minute__lt=Now() - KEPT[length]).values_list("pk", flat=True)
    ids = list(old[:AT_ONCE])
    return bool(ids and LanePeriod.objects.filter(pk__in=ids).delete()[0])


BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_KEYS = {
    "tenant_id": "tenant_id",
    "lane_id": "lane_id",
    "minute": "MICROSECONDS(minute) / 1000000",
}
# One statement: between two of them counts may have passed from the minutes to the sums.
_READ = """
SELECT {shown}, {added} FROM (
    SELECT {key}, {figures} FROM jobs_laneperiod
    WHERE tenant_id = ANY(%(summed)s) AND length = %(length)s AND {sums}
        AND minute >= %(since)s AND minute < %(until)s
    UNION ALL
    SELECT {key}, {figures} FROM jobs_laneminute
    WHERE {minutes}
        AND minute >= %(since)s AND minute < %(until)s
) AS counted
GROUP BY {key}"""


def read_counts(
    key: str,
    figures: Sequence[str],
    length: Length,
    tenant_ids: Collection[int],
    since: datetime = BEGINNING,
    until: datetime = END,
    *,
    lane_ids: Collection[int] | None = None,
    of_all: bool = False,
) -> dict[int, tuple[Any, ...]]:
    """The sums of these figures of the tenants, by `key`: tenant_id, lane_id or minute.

    Of these lanes alone, where there are any given; `of_all`: these are all tenants. The times are
    multiples of the length. A minute is told in seconds since 1970; it may stand for what is longer
    than a minute and has begun then.
    """
    asked: dict[str, Any] = {
        "summed": array([EVERYBODY] if of_all else tenant_ids),
        "tenants": array(tenant_ids),
        "length": length.value,
        "since": connection.ops.adapt_datetimefield_value(since),
        "until": connection.ops.adapt_datetimefield_value(until),
    }
    minutes = "TRUE" if of_all else "tenant_id = ANY(%(tenants)s)"
    if lane_ids is not None:
        asked["lanes"] = array(lane_ids)
        sums = "lane_id = ANY(%(lanes)s)"
        minutes = f"{minutes} AND {sums}"
    else:
        sums = f"lane_id > {_ALL_LANES}" if key == "lane_id" else f"lane_id = {_ALL_LANES}"
    words = {"key": key, "shown": _KEYS[key], "figures": ", ".join(figures)}
    added = ", ".join(map(_added, figures))
    statement = _READ.format(**words, added=added, sums=sums, minutes=minutes)
    rows = fetch(statement, asked, before=[ALONE] if is_postgresql() else [])
    return {of: tuple(sums) for of, *sums in rows}


def _added(figure: str) -> str:
    if figure == "max_wait_seconds":
        return f"max({figure})"
    return f"sum({figure})" if figure.endswith("_seconds") else f"sum({figure})::bigint"


def total(figures: Sequence[str], tenant_ids: Collection[int]) -> tuple[int, ...]:
    """The sums of these figures of the tenants over all of time."""
    rows = read_counts("tenant_id", figures, Length.EVER, tenant_ids).values()
    return tuple(map(sum, zip(*rows, strict=True))) or (0,) * len(figures)
