"""Jobs that no live worker takes: nobody serves their queue, has their tags, knows their task."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from django.db.models import BigIntegerField, DateTimeField, Exists, OuterRef
from django.db.models.expressions import RawSQL

from jobs.lookup import in_status
from jobs.models import Job, Line, Worker
from jobs.remote import is_remote
from jobs.statuses import Status
from jobs.store.depths import CAP
from jobs.why import Gate, Need, missing_worker

PATIENCE = timedelta(seconds=5)
MAX_LANES, MAX_LINES = 50, 1_000
"""So many of the fullest lanes are looked at, and of their lines without a worker."""

_READY_OF_LINE = """FROM jobs_job
    WHERE jobs_job.lane_id = jobs_line.lane_id AND jobs_job.line_id = jobs_line.id
        AND jobs_job.status = 'PENDING'"""


class Unserved(NamedTuple):
    """Ready jobs of a lane that wait for the same worker; those of several tasks are one.

    `is_remote`: workers of ours never run them, only one of their tenant over REST.
    """

    lane: Any
    gate: Gate
    worker_tags: str
    waiting: int
    is_remote: bool


def unserved(lanes: Sequence[Any], workers: Collection[Worker], now: datetime) -> list[Unserved]:
    """Of these lanes, which are open: what has waited for a while and none of the workers takes.

    `lanes` have their `waiting` jobs and their `oldest`; `workers` are those that are alive.
    """
    late = [lane for lane in lanes if lane.waiting and lane.oldest < now - PATIENCE]
    gates = dict(islice(_gates({lane.pk: lane for lane in late[:MAX_LANES]}, workers), MAX_LINES))
    found: dict[tuple[int, Gate, bool], Unserved] = {}
    for line in _waiting(gates, now):
        lane, gate = gates[line.pk]
        key = (lane.pk, gate, is_remote(line.task))
        earlier = found.get(key)
        waiting = line.ready + (earlier.waiting if earlier else 0)
        found[key] = Unserved(lane, gate, line.worker_tags, waiting, is_remote(line.task))
    return list(found.values())


def _gates(
    lanes: Mapping[int, Any], workers: Collection[Worker]
) -> Iterator[tuple[int, tuple[Any, Gate]]]:
    """The lines that have no worker, with their lane and what is missing."""
    for line in Line.objects.filter(lane_id__in=lanes).order_by("pk"):
        lane = lanes[line.lane_id]
        need = Need(lane.tenant_id, lane.queue, line.task, line.worker_tags)
        if gate := missing_worker(need, workers):
            yield line.pk, (lane, gate)


def _waiting(line_ids: Collection[int], now: datetime) -> list[Any]:
    """Those of the lines whose jobs have waited for a while; none of them runs, either.

    Of a line, the hundred are looked at that come first.
    """
    running = Job.objects.filter(
        tenant_id=OuterRef("lane__tenant_id"), lane_id=OuterRef("lane_id"), line_id=OuterRef("pk")
    )
    first = f"""(SELECT min(run_at) FROM (
        SELECT run_at {_READY_OF_LINE} ORDER BY priority * -1, run_at, id LIMIT 100) AS first)"""
    count = f"(SELECT count(*) FROM (SELECT 1 {_READY_OF_LINE} LIMIT %s) AS counted)"
    lines = Line.objects.filter(~Exists(in_status(running, Status.RUNNING)), pk__in=line_ids)
    found = lines.annotate(
        oldest=RawSQL(first, (), output_field=DateTimeField()),  # noqa: S611  (the words are ours)
        ready=RawSQL(count, (CAP + 1,), output_field=BigIntegerField()),  # noqa: S611
    ).order_by("pk")
    return [line for line in found if line.oldest and line.oldest < now - PATIENCE]
