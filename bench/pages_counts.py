"""What a month of work leaves behind in counts: of what ended, and of how long jobs waited."""

import time
from datetime import timedelta
from itertools import pairwise

from django.db import connection

from bench.pages_words import in_words
from bench.scenario import say
from jobs import store
from jobs.models import Tenant
from jobs.store.minutes import EVERYBODY
from jobs.store.waits import PERIODS

MINUTE, HOUR, DAY = 60, 3_600, 86_400
ACTIVE = 35
"""Percent of the minutes in which something of a queue ends."""
MINUTES_FOR = 2 * DAY
"""So far back there are minutes; before, one of each hour, as all that is shown of it are sums."""
AT_ONCE = 200
LENGTHS = (4, 8, 13, 17, 21, 26, 30)
"""Buckets of waits, from milliseconds to minutes."""

_COUNTS = """
INSERT INTO jobs_laneminute (lane_id, tenant_id, minute, shard, done, failed, dead, cancelled,
    started, wait_seconds, max_wait_seconds, run_seconds, purged)
SELECT id, tenant_id, MINUTE(n * %(seconds)s), 0, %(done)s, n %% 3, n %% 2, 0, %(done)s + 3,
    1.5 * %(done)s, 9.5, 0.7 * %(done)s, 0
FROM SERIES(%(first)s, %(last)s) CROSS JOIN jobs_lane
WHERE (n * 7919 + id * 104729) %% 100 < %(percent)s"""
_WAITS = """
INSERT INTO jobs_waitminute (tenant_id, minute, shard, bucket, attempts)
SELECT whose.id, MINUTE(n * %(seconds)s), %(shard)s, bucket, attempts
FROM SERIES(%(first)s, %(last)s)
CROSS JOIN (
    SELECT id, 7 AS attempts FROM jobs_tenant UNION ALL SELECT %(everybody)s, 700
) AS whose
CROSS JOIN ({buckets}) AS length"""


def make(days: int) -> None:
    """Count as if something had ended all the time for so many days, and add it up."""
    now = int(time.time())
    recent = max(now - MINUTES_FOR, now - days * DAY) // HOUR * HOUR
    _make_counts(HOUR, (now - days * DAY) // DAY * DAY, recent, percent=100)
    _make_counts(MINUTE, recent, now, percent=ACTIVE)
    _make_waits(now, days)


def _make_counts(seconds: int, since: int, until: int, *, percent: int) -> None:
    given = {"seconds": seconds, "percent": percent, "done": seconds // 6}
    steps = range(since // seconds, until // seconds, AT_ONCE)
    for first, after in pairwise([*steps, until // seconds]):
        with connection.cursor() as cursor:
            cursor.execute(in_words(_COUNTS), {**given, "first": first, "last": after - 1})
        _add_up()
    say("    what ended is counted")


def _add_up() -> None:
    """As workers do it in the course of time."""
    for tenant_id in Tenant.objects.values_list("pk", flat=True):
        while store.sum_up(tenant_id):
            pass


def _make_waits(now: int, days: int) -> None:
    """As workers leave them: the older, the longer the time that is counted together."""
    buckets = " UNION ALL ".join(f"SELECT {length} AS bucket" for length in LENGTHS)
    kept = [(MINUTE, 0), *((int(p.length.total_seconds()), p.shard) for p in PERIODS)]
    edges = [timedelta(0), *(period.after for period in PERIODS), timedelta(days=days)]
    for (seconds, shard), (after, until) in zip(kept, pairwise(edges), strict=True):
        given = {
            "seconds": seconds,
            "shard": shard,
            "everybody": EVERYBODY,
            "first": (now - int(until.total_seconds())) // seconds,
            "last": (now - int(after.total_seconds())) // seconds - 1,
        }
        with connection.cursor() as cursor:
            cursor.execute(in_words(_WAITS.format(buckets=buckets)), given)
