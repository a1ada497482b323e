"""What ended when, from what the store counts in the transaction of each ending."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from django.db import connection

from dashboard.scope import PageScope
from jobs import shared_cache
from jobs.store.depths import CountedLane
from jobs.store.dialect import array, fetch
from jobs.store.minutes import Length, read_counts
from jobs.store.waits import bucket_of, percentile

T = TypeVar("T")


class Range(NamedTuple):
    """A time range of the charts, cut into buckets of `step`."""

    name: str
    length: timedelta
    step: timedelta

    @property
    def counted_by(self) -> Length:
        """Of the sums that there are, the longest that its buckets are made of."""
        seconds = int(self.step.total_seconds())
        return max(length for length in Length if length and seconds % length == 0)

    @property
    def refresh_seconds(self) -> int:
        """How often it is worth while to draw it anew."""
        return max(2, int(self.step.total_seconds()) // 30)

    def steps(self, now: datetime) -> range:
        """When each bucket begins, the newest with `now` in it, in seconds since 1970."""
        step = int(self.step.total_seconds())
        end = int(now.timestamp()) // step * step + step
        return range(end - int(self.length.total_seconds()), end, step)


RANGES = {
    r.name: r
    for r in (
        Range("15m", timedelta(minutes=15), timedelta(minutes=1)),
        Range("1h", timedelta(hours=1), timedelta(minutes=1)),
        Range("6h", timedelta(hours=6), timedelta(minutes=5)),
        Range("24h", timedelta(hours=24), timedelta(minutes=15)),
        Range("7d", timedelta(days=7), timedelta(hours=2)),
        Range("30d", timedelta(days=30), timedelta(days=1)),
    )
}
DEFAULT_RANGE = "1h"
DAY_SECONDS = 86_400
SETTLED_AFTER = timedelta(minutes=5)
"""No wait is written to an hour later: `jobs.store.waits.MAX_AGE_SECONDS`."""


class Ended(NamedTuple):
    """How many attempts ended how."""

    done: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0

    @property
    def error_rate(self) -> float | None:
        """The share of attempts that failed, None if none ended."""
        ended = self.done + self.failed + self.dead
        return (self.failed + self.dead) / ended if ended else None


OUTCOMES = Ended._fields
_SUMS = ", ".join(f"sum({name})::bigint" for name in OUTCOMES)
# Past the ORM, which makes a decimal number of each sum.
_PER_LANE = f"""
SELECT lane_id, {_SUMS} FROM jobs_laneminute
WHERE tenant_id = ANY(%(tenants)s) AND minute >= %(since)s GROUP BY lane_id"""
_PER_STEP = f"""
SELECT lane_id, MICROSECONDS(minute) / 1000000 / %(seconds)s AS step, {_SUMS} FROM jobs_laneminute
WHERE lane_id = ANY(%(lanes)s) AND minute >= %(since)s GROUP BY lane_id, step"""


@dataclass
class Series:
    """Columns for a chart, one entry per bucket; None where nothing ended in a bucket."""

    at: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    wait_avg: list[float | None] = field(default_factory=list)
    wait_p95: list[float | None] = field(default_factory=list)
    wait_max: list[float | None] = field(default_factory=list)
    oldest: list[float | None] = field(default_factory=list)

    @property
    def start(self) -> datetime:
        """When the first bucket begins."""
        return _moment(self.at[0])


class Minute(NamedTuple):
    """What ended in a minute, or in a longer time that begins with it."""

    at: int
    done: int
    failed: int
    dead: int
    cancelled: int
    started: int
    wait: float
    longest: float


def series(
    scope: PageScope,
    span: Range,
    now: datetime,
    oldest: datetime | None,
    waits: Mapping[int, Mapping[int, int]],
    lanes: Collection[CountedLane] | None = None,
) -> Series:
    """Throughput by outcome and wait over the range, without gaps.

    Of these lanes, if any are given, else of all in scope. `oldest` is when the job that waits
    longest now became ready; `waits` are those of each bucket, as `queries.waits` reads them.
    """
    steps = span.steps(now)
    buckets: dict[int, list[Minute]] = defaultdict(list)
    for minute in _minutes(scope, span, now, lanes):
        buckets[minute.at // steps.step * steps.step].append(minute)
    columns = Series()
    for at in steps:
        _append(columns, at, buckets[at], waits.get(at, {}))
    columns.oldest = oldest_ages(columns.at, columns.wait_max, now, oldest)
    return columns


def oldest_ages(
    at: Sequence[int], longest: Sequence[float | None], now: datetime, oldest: datetime | None
) -> list[float | None]:
    """How long the oldest waiting job of each bucket had waited, in seconds; None if none is known.

    Nothing records it: the job that waits longest now was there before, and so was each that
    started later, for as long as it waited. A queue that stands still ends nothing, so this is what
    shows it. When in its bucket a job started is not known: as if at the end, so that no bucket
    shows one that came later. It falls short by up to a bucket, and by the time that the job ran.
    """
    present = now.timestamp()
    ready_at = oldest.timestamp() if oldest else present
    ages: list[float | None] = []
    for index in reversed(range(len(at))):
        end = at[index + 1] if index + 1 < len(at) else present
        own = longest[index]
        age = max(end - ready_at, own or 0.0)
        ages.append(round(age, 3) if age > 0 or own is not None else None)
        ready_at = min(ready_at, end - (own or 0.0))
    return ages[::-1]


def _minutes(
    scope: PageScope, span: Range, now: datetime, lanes: Collection[CountedLane] | None
) -> list[Minute]:
    edges = [_moment(edge) for edge in (span.steps(now).start, span.steps(now).stop)]
    figures = Minute._fields[1:]
    columns = (*OUTCOMES, "started", "wait_seconds", "max_wait_seconds")
    whose = scope.ids
    of: dict[str, Any] = {"of_all": scope.searched == (None,)}
    if lanes is not None:
        whose, of = list({one.tenant_id for one in lanes}), {"lane_ids": [one.pk for one in lanes]}
    found = read_counts("minute", columns, span.counted_by, whose, *edges, **of)
    return [Minute(at, **dict(zip(figures, sums, strict=True))) for at, sums in found.items()]


def past_and_recent(
    name: str,
    tenant_ids: Collection[int],
    span: Range,
    now: datetime,
    read: Callable[[datetime, datetime], list[T]],
) -> list[T]:
    """What is read of the range, from one time to another; past hours of long ones once a day.

    Those come with some from before the range.
    """
    steps = span.steps(now)
    first, end = _moment(steps.start), _moment(steps.stop)
    if span.length < timedelta(hours=6):
        return read(first, end)
    settled = settled_hour(now)
    key = f"dashboard-{name}-{span.name}-{settled:%Y%m%d}-{_digest(tenant_ids)}"
    kept: tuple[datetime, list[T]] | None = shared_cache.get(key)
    known_until, past = kept or (first, [])
    if known_until < settled:
        past = past + read(known_until, settled)
        shared_cache.put(key, (settled, past), DAY_SECONDS)
    return past + read(max(known_until, settled), end)


def _append(columns: Series, at: int, minutes: Sequence[Minute], waits: Mapping[int, int]) -> None:
    started = sum(minute.started for minute in minutes)
    columns.at.append(at)
    for name in OUTCOMES:
        getattr(columns, name).append(int(sum(getattr(minute, name) for minute in minutes)))
    average = sum(minute.wait for minute in minutes) / started if started else None
    longest = max(minute.longest for minute in minutes) if started else None
    columns.wait_avg.append(None if average is None else round(average, 3))
    columns.wait_max.append(None if longest is None else round(longest, 3))
    columns.wait_p95.append(_p95(waits, longest))


def _p95(waits: Mapping[int, int], longest: float | None) -> float | None:
    """About as long 95 of 100 had waited at most; not longer than the longest, if that is near."""
    found = percentile(waits, 95)
    if found is not None and longest is not None and bucket_of(found) == bucket_of(longest):
        found = min(found, longest)
    return None if found is None else round(found, 3)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def settled_hour(now: datetime) -> datetime:
    """The last full hour whose sums are final."""
    return (now - SETTLED_AFTER).replace(minute=0, second=0, microsecond=0)


def _digest(tenant_ids: Collection[int]) -> str:
    return sha256(repr(sorted(tenant_ids)).encode()).hexdigest()


def ended_per_lane(tenant_ids: Collection[int], since: datetime) -> dict[int, Ended]:
    """What ended since then, in the last hour, by lane."""
    asked = {"tenants": array(tenant_ids), "since": _parameter(since)}
    return {lane_id: Ended(*sums) for lane_id, *sums in fetch(_PER_LANE, asked)}


def done_in_a_day(scope: PageScope, now: datetime) -> int:
    """How many jobs were done in this hour and the 23 before."""
    since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    of_all = scope.searched == (None,)
    found = read_counts("minute", ("done",), Length.HOUR, scope.ids, since, of_all=of_all)
    return sum(done for (done,) in found.values())


def sparks(
    lane_ids: Collection[int], now: datetime, *, step: timedelta, bars: int
) -> dict[int, list[Ended]]:
    """What ended lately in each lane, by steps, oldest first; the last step has `now` in it."""
    seconds = int(step.total_seconds())
    first = int(now.timestamp()) // seconds - bars + 1
    since = _parameter(_moment(first * seconds))
    found = {lane_id: [Ended()] * bars for lane_id in lane_ids}
    asked = {"lanes": array(lane_ids), "seconds": seconds, "since": since}
    for lane_id, at, *sums in fetch(_PER_STEP, asked):
        if at - first < bars:
            found[lane_id][at - first] = Ended(*sums)
    return found


def _parameter(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)
