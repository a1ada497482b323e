"""How long the last runs of a job's task took: found among the tenant's newest jobs."""

import math
from collections.abc import Sequence
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


class Level(NamedTuple):
    """So many seconds, and their place in the picture."""

    seconds: float
    y: float


class Runs(NamedTuple):
    """The last runs, the oldest first; half of them took no longer than `p50`, and so on."""

    dots: Sequence[Dot]
    p50: Level
    p95: Level
    shortest: float
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
    return _runs(ended) if len(ended) > 1 else None


def _runs(ended: Sequence[tuple[UUID, str, float]]) -> Runs:
    every = [seconds for *_, seconds in ended]
    levels = [Level(*both) for both in zip(every, _heights(every), strict=True)]
    dots = [Dot(*run, STEP * (at + 0.5), levels[at].y) for at, run in enumerate(ended)]
    rising = sorted(levels)
    p50, p95 = (rising[math.ceil(len(rising) * share / 100) - 1] for share in (50, 95))
    return Runs(dots, p50, p95, rising[0].seconds, rising[-1].seconds)


def _heights(every: Sequence[float]) -> list[float]:
    """On a scale of powers, so that a long run does not flatten the others."""
    logs = [math.log10(max(seconds, 0.001)) for seconds in every]
    low, span = min(logs), max(logs) - min(logs)
    room = _HEIGHT - 2 * _MARGIN
    return [round(_HEIGHT - _MARGIN - room * ((x - low) / span if span else 0.5), 1) for x in logs]
