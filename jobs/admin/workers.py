"""Worker processes: who is there, and when they were last heard of."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from jobs.admin.lists import BoundedList, ReadOnly, instant
from jobs.models import Worker
from jobs.worker_states import worker_state

TIMES = [instant(name) for name in ("started_at", "seen_at", "stopped_at")]


@admin.register(Worker)
class WorkerAdmin(ReadOnly, BoundedList):
    """Processes that are, or were lately, alive."""

    list_display = [
        *("id", "state", "host", "pid", "busy", "memory", "queue_names", "tag_names"),
        *TIMES,
    ]
    search_fields = ["host"]
    search_help_text = "A part of the host's name."
    fields = [
        *("id", "state", "host", "pid", "busy", "memory", "queue_names", "tag_names", "tasks"),
        *TIMES,
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        """Workers with the time by the database's clock."""
        return super().get_queryset(request).annotate(now=Now())

    @admin.display(description="state")
    def state(self, worker: Any) -> str:
        """What it does."""
        return worker_state(worker, worker.now)

    @admin.display(description="busy slots")
    def busy(self, worker: Worker) -> str:
        """Running jobs out of the slots."""
        return f"{worker.running} of {worker.slots}"

    @admin.display(description="memory")
    def memory(self, worker: Worker) -> str:
        """Resident memory."""
        return filesizeformat(worker.memory_bytes)

    @admin.display(description="queues")
    def queue_names(self, worker: Worker) -> str:
        """The queues that it takes jobs from."""
        return ", ".join(worker.queues) or "all"

    @admin.display(description="tags")
    def tag_names(self, worker: Worker) -> str:
        """The tags that jobs may ask for."""
        return ", ".join(worker.tags) or "-"
