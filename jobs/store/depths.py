"""How many live jobs lanes have, counted to a cap. Reads only, through the indexes of live jobs."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple

from django.db.models import IntegerField, QuerySet, Subquery

from jobs.models import Lane
from jobs.statuses import Status
from jobs.store.clock import now
from jobs.store.dialect import BY_TENANT, IN_UNUSUAL, array, fetch, is_postgresql

CAP = 10_000
"""Where counting stops: that many stand for that many or more."""
COUNTED = (Status.SCHEDULED, Status.BLOCKED, Status.FAILED, Status.DLQ)
"""The unusual statuses of jobs that are still to run, or to be decided about."""


class RowCount(Subquery):
    """How many rows a query has, which may be cut off and about a row of an outer one."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


class CountedLane(NamedTuple):
    """A lane with how much waited and ran in it at `now`; the oldest became ready at `oldest`.

    No instance of the model: those of 1,000 lanes take longer than all of their counts.
    """

    pk: int
    tenant_id: int
    queue: str
    weight: int
    max_running: int | None
    starts_per_minute: float | None
    start_burst: int
    is_paused: bool
    paused_at: datetime | None
    paused_by: str
    pause_reason: str
    now: datetime
    waiting: int
    oldest: datetime | None
    running: int


_OF_LANE = CountedLane._fields[: CountedLane._fields.index("now")]

# Both figures from one walk over a lane's part of the index, as one text.
_READY = f"""
SELECT lane.id, (
    SELECT count(*) || ' ' || coalesce(MICROSECONDS(min(run_at)), 0) FROM (
        SELECT run_at FROM jobs_job
        WHERE jobs_job.lane_id = lane.id AND jobs_job.status = '{Status.PENDING}'
        LIMIT %(limit)s) AS counted)
FROM jobs_lane AS lane WHERE lane.id = ANY(%(lanes)s)"""
_FIRST = f"""
SELECT lane_id, MICROSECONDS(first_at) FROM (
    SELECT line.lane_id, min((
        SELECT min(run_at) FROM (
            SELECT run_at FROM jobs_job
            WHERE jobs_job.lane_id = line.lane_id AND jobs_job.line_id = line.id
                AND jobs_job.status = '{Status.PENDING}'
            ORDER BY priority * -1, run_at, id LIMIT 1000) AS first)) AS first_at
    FROM jobs_line AS line WHERE line.lane_id = ANY(%(lanes)s) GROUP BY line.lane_id) AS firsts"""
_RUNNING = f"""
SELECT lane_id, count(*) FROM jobs_job
WHERE tenant_id = ANY(%(tenants)s) AND status = '{Status.RUNNING}' GROUP BY lane_id"""

_OF_STATUS = f"""(SELECT count(*) FROM (
        SELECT 1 FROM jobs_job
        WHERE jobs_job.lane_id = lane.id AND jobs_job.status = '{{}}' AND jobs_job.{IN_UNUSUAL}
        LIMIT %(limit)s) AS counted)"""
_UNUSUAL = f"""
SELECT lane.id, {", ".join(map(_OF_STATUS.format, COUNTED))}
FROM jobs_lane AS lane WHERE lane.id = ANY(%(lanes)s)"""


def lanes_with_counts(lanes: QuerySet[Lane]) -> list[CountedLane]:
    """These lanes, the fullest first, with at most one more than `CAP` waiting jobs.

    `oldest` is exact for lanes with up to `CAP` waiting jobs, which takes the index alone; of
    longer ones it looks at the first thousand of each line in the order they run.
    """
    rows = list(lanes.order_by().values_list(*_OF_LANE))
    ready = _ready([pk for pk, *_ in rows])
    running = dict(fetch(_RUNNING, {"tenants": array({tenant_id for _, tenant_id, *_ in rows})}))
    moment = now()
    found = [
        CountedLane._make((pk, *of, moment, *ready.get(pk, (0, None)), running.get(pk, 0)))
        for pk, *of in rows
    ]
    return sorted(found, key=lambda lane: (-lane.waiting, -lane.running, lane.queue, lane.pk))


def _ready(lane_ids: Collection[int]) -> dict[int, tuple[int, datetime | None]]:
    """How many jobs are ready in each lane, at most one more than `CAP`, and since when."""
    rows = fetch(_READY, {"lanes": array(lane_ids), "limit": CAP + 1})
    counted = {lane_id: tuple(map(int, text.split())) for lane_id, text in rows}
    long = [lane_id for lane_id, (count, _) in counted.items() if count > CAP]
    first = dict(fetch(_FIRST, {"lanes": array(long)})) if long else {}
    return {
        lane_id: (count, _time(first.get(lane_id) or at) if count else None)
        for lane_id, (count, at) in counted.items()
    }


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def unusual_by_lane(lane_ids: Collection[int]) -> dict[int, dict[Status, int]]:
    """How many jobs of each lane are in each of the statuses `COUNTED`, each up to `CAP`."""
    rows = fetch(_UNUSUAL, {"lanes": array(lane_ids), "limit": CAP})
    return {lane_id: dict(zip(COUNTED, counts, strict=True)) for lane_id, *counts in rows}


# Past the ORM: it would make three times of each row, which takes longer than all of the search.
_TIMES = f"""
SELECT SECONDS(run_at, started_at), SECONDS(started_at, finished_at) FROM (
    SELECT id, status, run_at, started_at, finished_at FROM jobs_job
    WHERE tenant_id = %(tenant)s ORDER BY id DESC LIMIT %(among)s
) AS newest
WHERE status = '{Status.DONE}' ORDER BY id DESC LIMIT %(at_most)s"""


def newest_times(tenant_id: int, *, among: int, at_most: int) -> list[tuple[float, float]]:
    """For how many seconds the newest that are done waited and ran, those among the newest jobs."""
    asked = {"tenant": tenant_id, "among": among, "at_most": at_most}
    rows = fetch(_TIMES, asked, before=[BY_TENANT] if is_postgresql() else [])
    return [(max(0.0, waited), max(0.0, ran)) for waited, ran in rows]
