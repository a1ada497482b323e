"""How long attempts had waited, counted by lengths: percentiles of any time are known from it.

A length is a bucket: of the wait in milliseconds, plus one, there are four for each doubling. What
is told for a bucket is its middle, which is off by 9.1 % of that sum at most: by less than 10 % of
the wait from 10 ms on, and by 0.1 ms for the shortest.

It is statistics. Each process counts in its memory what it ends. A worker process writes that every
few seconds and when it drains, one that serves workers over REST with the next call of theirs that
comes some seconds after the last write: what is killed before loses it. Attempts that were lost are
not counted. What ended near the turn of a minute may be counted in the minute beside it.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from math import ceil, log2
from typing import NamedTuple

from django.db import Error, connection
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.models import WaitMinute
from jobs.store.dialect import (
    AS_BRIEFLY,
    array,
    fetch,
    is_postgresql,
    one_writer,
    sql,
    was_held_up,
)
from jobs.store.finish import Outcome
from jobs.store.minutes import EVERYBODY

WRITE_SECONDS = 5.0
REST = 50
"""With many tenants it is written less often: this many times as long as writing took."""
MAX_REST_SECONDS = 60.0
MAX_COUNTS = 50_000
"""So many are written at once, which takes about a second."""
TOGETHER_SECONDS = 10
"""What ended within so many seconds is counted as if in the middle of them. With the seconds
themselves a write would take longer the longer it rested, and so rest for ever longer."""
MAX_AGE_SECONDS = 120.0
"""What ended longer ago is counted in the minute of the writing: when an hour is over, the pages
soon hold its counts for final."""


class Period(NamedTuple):
    """A longer time whose rows are added up into one, of this shard, when they are so old."""

    length: timedelta
    after: timedelta
    shard: int


PERIODS = (
    Period(timedelta(minutes=15), after=timedelta(hours=7), shard=1),
    Period(timedelta(hours=1), after=timedelta(days=2), shard=32),
    Period(timedelta(days=1), after=timedelta(days=14), shard=33),
)
"""Only the charts of the last six hours tell less than a quarter of an hour."""
KEPT = timedelta(days=32)
"""What is older is deleted: nothing shows it."""

_PER_DOUBLING = 4

_log = logging.getLogger(__name__)


def bucket_of(seconds: float) -> int:
    """The bucket of a wait. A clock that was set back makes it 0."""
    return int(_PER_DOUBLING * log2(1 + 1_000 * seconds)) if seconds > 0 else 0


def middle_of(bucket: int) -> float:
    """The wait in seconds that stands for those of the bucket."""
    return (2 ** ((bucket + 0.5) / _PER_DOUBLING) - 1) / 1_000


def percentile(counts: Mapping[int, int], percent: int) -> float | None:
    """The nearest-rank percentile, in seconds, of waits by bucket; None where there are none."""
    left = ceil(sum(counts.values()) * percent / 100)
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return middle_of(bucket)
    return None


# Those of everybody last: these rows are the ones that all processes write.
_ADD = """
INSERT INTO jobs_waitminute AS counter (tenant_id, minute, shard, bucket, attempts)
SELECT tenant_id, minute, 0, bucket, sum(attempts) FROM (
    SELECT ELEMENT(value, 0)::bigint AS tenant_id, MINUTE_OF(ELEMENT(value, 1)::float8) AS minute,
        ELEMENT(value, 2)::int AS bucket, ELEMENT(value, 3)::bigint AS attempts
    FROM ELEMENTS(%(rows)s)
) AS given
GROUP BY tenant_id, minute, bucket ORDER BY tenant_id DESC, minute, bucket
ON CONFLICT (tenant_id, minute, shard, bucket) DO UPDATE
SET attempts = counter.attempts + excluded.attempts"""


# All processes write the same rows, between their outcomes: none waits long for another.
_BRIEFLY = f"SELECT {AS_BRIEFLY}"

_Rows = list[tuple[int, float, int, int]]


class Waits:
    """What a process counts until it writes it. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, int, int]] = Counter()
        self._written_at = time.monotonic()
        self._took = 0.0

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Count the waits of attempts whose outcomes have just been recorded."""
        start = int(time.monotonic()) // TOGETHER_SECONDS * TOGETHER_SECONDS
        noted = [(start, one.tenant_id, bucket_of(one.waited_seconds)) for one in outcomes]
        with self._lock:
            self._counts.update(noted)

    def write_if_due(self) -> None:
        """Write what was counted, if the last write is some seconds ago or that is much."""
        rest = min(max(WRITE_SECONDS, REST * self._took), MAX_REST_SECONDS)
        is_due = self._counts and time.monotonic() >= self._written_at + rest
        if is_due or len(self._counts) >= MAX_COUNTS:
            self.write()

    def write(self) -> None:
        """Write what was counted; if the database refuses, that is lost.

        If another process holds a row for long, that is left to the next write.
        """
        started = time.monotonic()
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._written_at = started
        if not counts:
            return
        try:
            _add(_rows(counts, started))
        except Error as error:
            if was_held_up(error) and len(counts) < MAX_COUNTS:
                with self._lock:
                    self._counts.update(counts)
            else:
                _log.warning("the waits of jobs were not counted", exc_info=error)
        else:
            self._took = time.monotonic() - started


def _add(rows: _Rows) -> None:
    """In one round trip: who is frozen meanwhile holds up nobody."""
    briefly = [_BRIEFLY] if is_postgresql() else []
    with nullcontext() if is_postgresql() else one_writer():
        fetch(_ADD, {"rows": json.dumps(rows)}, before=briefly)


def _rows(counts: Mapping[tuple[int, int, int], int], now: float) -> _Rows:
    """Each count for its tenant and for everybody: whose, the seconds until then, bucket, count."""
    return [
        (whose, -_age(start, now), bucket, attempts)
        for (start, tenant_id, bucket), attempts in counts.items()
        for whose in (tenant_id, EVERYBODY)
    ]


def _age(start: int, now: float) -> float:
    age = now - (start + TOGETHER_SECONDS / 2)
    return age if 0 < age <= MAX_AGE_SECONDS else 0.0


_READ = """
SELECT MICROSECONDS(minute) / 1000000 / %(step)s AS step, bucket, sum(attempts)::bigint
FROM jobs_waitminute
WHERE tenant_id = ANY(%(tenants)s) AND minute >= %(since)s AND minute < %(until)s
GROUP BY 1, 2"""


def read_waits(
    tenant_ids: Collection[int], since: datetime, until: datetime, *, step_seconds: int
) -> list[tuple[int, int, int]]:
    """The waits of these tenants, by steps of time: when it begins in seconds since 1970, a bucket,
    and how many attempts had waited for so long."""
    adapt = connection.ops.adapt_datetimefield_value
    asked = {"tenants": array(tenant_ids), "step": step_seconds}
    rows = fetch(_READ, {**asked, "since": adapt(since), "until": adapt(until)})
    return [(step * step_seconds, bucket, attempts) for step, bucket, attempts in rows]


def next_with_waits(tenant_id: int) -> int | None:
    """The next tenant of which there are counts, by id, `EVERYBODY` first; None behind the last.

    Tenants that were deleted since are among them.
    """
    rest = WaitMinute.objects.filter(tenant_id__gt=tenant_id).order_by("tenant_id")
    return rest.values_list("tenant_id", flat=True).first()


_SUM_UP = """
INSERT INTO jobs_waitminute AS counter (tenant_id, minute, shard, bucket, attempts)
SELECT tenant_id, %(start)s, %(shard)s, bucket, sum(attempts)
FROM jobs_waitminute WHERE id = ANY(%(ids)s) GROUP BY tenant_id, bucket
ON CONFLICT (tenant_id, minute, shard, bucket) DO UPDATE
SET attempts = counter.attempts + excluded.attempts"""
_FORGET = "DELETE FROM jobs_waitminute WHERE id = ANY(%(ids)s)"


def sum_up_waits(tenant_id: int) -> bool:
    """Add up the tenant's oldest period that is due to be, or delete what is too old.

    Answers whether there was anything to do.
    """
    counts = WaitMinute.objects.filter(tenant_id=tenant_id)
    is_done = any(_sum_up_oldest(counts, period) for period in PERIODS)
    return is_done or bool(counts.filter(minute__lt=Now() - KEPT).delete()[0])


def _sum_up_oldest(counts: QuerySet[WaitMinute], period: Period) -> bool:
    """Whether one was due. Nobody adds to its rows any more; who does the same at the same time
    waits, and finds none left."""
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
        for statement in (_SUM_UP, _FORGET):
            cursor.execute(sql(statement), of)
    return True
