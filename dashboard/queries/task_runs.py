"""How long the last runs of a job's task took: found among the tenant's newest jobs."""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple
from uuid import UUID

from jobs.models import Job

LOOKED_AT = 500
"""So many of the tenant's newest jobs are looked at; no index leads to those of a task."""
SHOWN = 20
STEP = 14.0
_HEIGHT = 36.0
_MARGIN = 5.0


class Dot(NamedTuple):
    """One run: its job, how it ended, and its place in the picture."""

    job_id: UUID
    status: str
    seconds: float
    x: float
    y: float

    @property
    def left(self) -> float:
        """Where the stripe begins in which it can be hit."""
        return self.x - STEP / 2


class Runs(NamedTuple):
    """The last runs, the oldest first, and the median of their seconds."""

    dots: Sequence[Dot]
    median: float
    longest: float


def task_runs(job: Job) -> Runs | None:
    """The last runs of the job's task that have ended; None if there are fewer than two."""
    newest = Job.objects.filter(tenant_id=job.tenant_id).order_by("-pk")
    rows = newest.values_list("pk", "task", "status", "started_at", "finished_at")[:LOOKED_AT]
    ended = [
        (pk, status, max((finished - started).total_seconds(), 0.0))
        for pk, task, status, started, finished in rows
        if task == job.task and started and finished
    ][:SHOWN][::-1]
    if len(ended) < 2:
        return None
    every = [seconds for *_, seconds in ended]
    heights = _heights(every)
    dots = [Dot(*run, STEP * (at + 0.5), heights[at]) for at, run in enumerate(ended)]
    return Runs(dots, median(every), max(every))


def _heights(every: Sequence[float]) -> list[float]:
    """On a scale of powers, so that a long run does not flatten the others."""
    logs = [math.log10(max(seconds, 0.001)) for seconds in every]
    low, span = min(logs), max(logs) - min(logs)
    room = _HEIGHT - 2 * _MARGIN
    return [round(_HEIGHT - _MARGIN - room * ((x - low) / span if span else 0.5), 1) for x in logs]
