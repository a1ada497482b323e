"""What a worker process does, as far as its row tells: decided here, for every page and answer."""

from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from jobs.conf import conf
from jobs.models import Worker
from jobs.statuses import WorkerRequest


class WorkerState(StrEnum):
    """`LIVE` takes jobs; `QUIET` and `DRAINING` take no more, asked to wait or about to end.

    `STALE` was silent for longer than a lease, so that its jobs are others'; `STOPPED` is gone.
    """

    LIVE = "live"
    QUIET = "quiet"
    DRAINING = "draining"
    STALE = "stale"
    STOPPED = "stopped"


PRESENT = frozenset({WorkerState.LIVE, WorkerState.QUIET, WorkerState.DRAINING})


def worker_state(worker: Worker, now: datetime) -> WorkerState:
    """What the worker does at this time of the database's clock.

    A tenant's own worker that is silent has stopped: it never says so.
    """
    if worker.stopped_at:
        return WorkerState.STOPPED
    if worker.seen_at < now - _lease():
        return WorkerState.STOPPED if worker.tenant_id else WorkerState.STALE
    if not worker.is_draining:
        return WorkerState.LIVE
    is_quiet = worker.asked_to == WorkerRequest.QUIET
    return WorkerState.QUIET if is_quiet else WorkerState.DRAINING


def is_present(now: datetime | Combinable) -> Q:
    """The condition that a row is of a worker in one of the states of `PRESENT`."""
    return Q(stopped_at=None, seen_at__gte=now - _lease())


def present_workers() -> QuerySet[Worker]:
    """The workers that are there now, whether they take jobs or not."""
    return Worker.objects.filter(is_present(Now()))


def live_workers() -> QuerySet[Worker]:
    """The workers that take jobs now."""
    return present_workers().filter(is_draining=False)


def _lease() -> timedelta:
    return timedelta(seconds=conf().lease_seconds)
