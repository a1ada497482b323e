"""The worker processes: who is alive."""

from datetime import datetime, timedelta

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from jobs.conf import conf
from jobs.models import Worker


def seen() -> QuerySet[Worker]:
    """The workers that are or were lately alive, those that run first; each with `now`."""
    return Worker.objects.annotate(now=Now()).order_by(
        F("stopped_at").desc(nulls_first=True), "host", "-started_at"
    )


def state_of(worker: Worker, now: datetime) -> str:
    """`stopped`, `stale` (silent for longer than a lease), `draining` or `live`.

    A tenant's own worker that is silent has stopped: it never says so.
    """
    if worker.stopped_at:
        return "stopped"
    if worker.seen_at < now - timedelta(seconds=conf().lease_seconds):
        return "stopped" if worker.tenant_id else "stale"
    return "draining" if worker.is_draining else "live"
