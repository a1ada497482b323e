"""The worker processes: who is alive, and what each runs."""

from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from jobs.lookup import in_status
from jobs.models import Job, Worker
from jobs.statuses import Status
from jobs.worker_states import PRESENT, WorkerState, worker_state

MAX_JOBS = 2_000
"""So many running jobs are looked at."""


def seen() -> QuerySet[Worker]:
    """The workers that are or were lately alive, those that run first; each with `now`."""
    return Worker.objects.annotate(now=Now()).order_by(
        F("stopped_at").desc(nulls_first=True), "host", "-started_at"
    )


class WorkerRow(NamedTuple):
    """A worker process with the jobs that it runs, those first that run longest."""

    worker: Any
    state: WorkerState
    jobs: list[Job]

    @property
    def now(self) -> datetime:
        """The time by the database's clock."""
        now: datetime = self.worker.now
        return now

    @property
    def is_ours(self) -> bool:
        """Whether it is a process that can be asked, and is there."""
        return self.worker.tenant_id is None and self.state in PRESENT

    @property
    def pending(self) -> str:
        """What it was asked to do and has not begun: it reads it with its next heartbeat."""
        is_begun = self.worker.is_draining or not self.is_ours
        return "" if is_begun else str(self.worker.asked_to)


def rows() -> list[WorkerRow]:
    """The workers that are or were lately alive, each with its jobs."""
    running: dict[str, list[Job]] = defaultdict(list)
    for job in _running():
        running[job.worker].append(job)
    return [
        WorkerRow(worker, worker_state(worker, worker.now), running[worker.pk])  # type: ignore[attr-defined]
        for worker in seen()
    ]


def _running() -> QuerySet[Job]:
    jobs = in_status(Job.objects.order_by("started_at"), Status.RUNNING)
    return jobs.only("id", "tenant_id", "task", "queue", "worker", "started_at")[:MAX_JOBS]
