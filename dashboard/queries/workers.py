"""The worker processes: who is alive, and what each runs."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from jobs.conf import conf
from jobs.lookup import in_status
from jobs.models import Job, Worker
from jobs.statuses import Status, WorkerRequest

MAX_JOBS = 2_000
"""So many running jobs are looked at."""


def seen() -> QuerySet[Worker]:
    """The workers that are or were lately alive, those that run first; each with `now`."""
    return Worker.objects.annotate(now=Now()).order_by(
        F("stopped_at").desc(nulls_first=True), "host", "-started_at"
    )


def state_of(worker: Worker, now: datetime) -> str:
    """`stopped`, `stale` (silent for longer than a lease), `quiet`, `draining` or `live`.

    A tenant's own worker that is silent has stopped: it never says so.
    """
    if worker.stopped_at:
        return "stopped"
    if worker.seen_at < now - timedelta(seconds=conf().lease_seconds):
        return "stopped" if worker.tenant_id else "stale"
    if not worker.is_draining:
        return "live"
    return "quiet" if worker.asked_to == WorkerRequest.QUIET else "draining"


class WorkerRow(NamedTuple):
    """A worker process with the jobs that it runs, those first that run longest."""

    worker: Any
    state: str
    jobs: list[Job]

    @property
    def now(self) -> datetime:
        """The time by the database's clock."""
        now: datetime = self.worker.now
        return now

    @property
    def is_ours(self) -> bool:
        """Whether it is a process that can be asked, and is there."""
        return self.worker.tenant_id is None and self.state not in {"stopped", "stale"}

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
        WorkerRow(worker, state_of(worker, worker.now), running[worker.pk])  # type: ignore[attr-defined]
        for worker in seen()
    ]


def _running() -> QuerySet[Job]:
    jobs = in_status(Job.objects.order_by("started_at"), Status.RUNNING)
    return jobs.only("id", "tenant_id", "task", "queue", "worker", "started_at")[:MAX_JOBS]
