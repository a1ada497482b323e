"""What people ask worker processes to do. A process reads it with its next heartbeat."""

from collections.abc import Mapping

from django.db import transaction

from jobs.audit import audit
from jobs.errors import StatusConflict
from jobs.models import AuditAction, Worker
from jobs.statuses import WorkerRequest

ACTIONS: Mapping[WorkerRequest | None, AuditAction] = {
    WorkerRequest.QUIET: "quiet_worker",
    WorkerRequest.STOP: "stop_worker",
    None: "resume_worker",
}
"""What the audit log calls them."""


def ask_worker(worker: Worker, request: WorkerRequest | None, *, actor: str) -> None:
    """Ask a worker process to take no more jobs, to stop for good, or (None) to take jobs again.

    Raises `StatusConflict` for one that has stopped or was asked to, and for a tenant's own, which
    is nobody's to ask.
    """
    with transaction.atomic():
        running = Worker.objects.filter(pk=worker.pk, tenant=None, stopped_at=None)
        before = running.values("asked_to").first()
        after = {"asked_to": request or ""}
        if not running.exclude(asked_to=WorkerRequest.STOP).update(**after):
            raise StatusConflict("This worker cannot be asked any more: it stops, or has.")
        audit(actor, ACTIONS[request], None, worker.pk, before=before, after=after)
