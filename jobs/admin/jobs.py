"""Jobs: to be found and read. Nothing here writes one."""

import re
import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from jobs.admin.json_text import readable
from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import COUNTED_AT_MOST, BoundedList, ReadOnly, ValueFilter, instant
from jobs.fingerprint import SEALED
from jobs.lookup import in_status, newest
from jobs.models import Job, JobTag
from jobs.statuses import Status

SEARCHED_AT_MOST = 100_000
SHOWN_CHARACTERS = 200_000
SHOWN_ATTEMPTS = 20
TIMES = [instant(name) for name in ("created_at", "run_at", "started_at", "finished_at")]

_ID_START = re.compile(r"0[0-9a-f]{5,31}")
"""An id or its first digits. Ids begin with their time and so, for centuries, with a 0."""


class StatusFilter(ValueFilter):
    """Jobs in one status."""

    title = parameter_name = column = "status"

    def values(self, model_admin: admin.ModelAdmin) -> Iterable[str]:
        """All of them, in the order of a job's life."""
        return [status.value for status in Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """See `listed_in_status`."""
        status = self.value()
        return listed_in_status(queryset, status) if status else queryset


def listed_in_status(jobs: QuerySet[Any], status: str) -> QuerySet[Any]:
    """The jobs in this status, of all tenants.

    Where there are few, they are looked up in the small index of that status: on the way through
    all jobs, newest first, a page of them might never fill.
    """
    ids = in_status(Job.objects.order_by(), status).values("pk")[: COUNTED_AT_MOST + 1]
    is_few = ids.count() <= COUNTED_AT_MOST
    return jobs.filter(pk__in=ids) if is_few else in_status(jobs, status)


def search_jobs(jobs: QuerySet[Any], text: str, *, may_read: bool) -> QuerySet[Any]:
    """The jobs with this id or beginning of one; else those whose task or error has the text, or
    whose queue, tag or tenant is called that. What errors say is for those who may read payloads.

    No index serves the text, so it is looked for in the newest `SEARCHED_AT_MOST` jobs alone.
    """
    if not text:
        return jobs
    if ids := _ids_starting_with(text):
        return jobs.filter(pk__range=ids)
    message = Q(error_message__icontains=text) & ~Q(error_message__startswith=SEALED)
    names = Q(queue=text) | Q(tenant__slug=text) | Q(Exists(_tagged(text)))
    found = Q(task__startswith=text) | Q(error_type__icontains=text) | names
    return newest(jobs, SEARCHED_AT_MOST).filter(found | message if may_read else found)


def may_read_payloads(request: HttpRequest) -> bool:
    """Whether the user may read payloads, results, and what errors say."""
    return request.user.has_perm("jobs.view_payload")


def _tagged(tag: str) -> QuerySet[JobTag]:
    return JobTag.objects.filter(tag=tag, job_id=OuterRef("pk"), tenant_id=OuterRef("tenant_id"))


def _ids_starting_with(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    digits = text.strip().lower().replace("-", "")
    if not _ID_START.fullmatch(digits):
        return None
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))


class JobPages(ReadOnly, BoundedList):
    """What the lists of jobs and of dead letters share: how jobs are found and shown."""

    list_select_related = ["tenant"]
    ordering = ["-pk"]
    search_fields = ["id", "task", "error_type", "error_message"]
    search_help_text = (
        "An id or its first digits, the beginning of a task, a part of an error, or a queue, tag "
        f"or tenant. All but ids are looked for in the newest {SEARCHED_AT_MOST:,} jobs of the "
        "filter; messages of errors for those who may read payloads, and not those encrypted."
    )

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Who may see jobs sees dead letters as well."""
        return request.user.has_perm("jobs.view_job")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The jobs without payload and result, which are read for one job at a time."""
        return super().get_queryset(request).defer("payload", "result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """See `search_jobs`."""
        text, may_read = search_term.strip(), may_read_payloads(request)
        return search_jobs(queryset, text, may_read=may_read), False

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """All there is to know of a job; what is its tenant's own for those who may read it."""
        may_read = may_read_payloads(request)
        texts = ["payload_text", "result_text"] if may_read else ["withheld"]
        if isinstance(obj, Job) and obj.unreadable:
            texts = ["unreadable_text"]
        return [
            (None, {"fields": self._facts(obj, may_read)}),
            ("Payload and result", {"fields": texts}),
            ("Attempts", {"fields": ["attempts_text" if may_read else "attempts_types"]}),
            ("Times", {"fields": TIMES}),
            ("Running", {"fields": self._running_facts(), "classes": ["collapse"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """All fields."""
        return [name for _, part in self.get_fieldsets(request, obj) for name in part["fields"]]

    def view_on_site(self, job: Job) -> str:
        """The job on the dashboard."""
        return reverse("job", args=[job.pk])

    def _facts(self, job: Model | None, may_read: bool) -> list[str]:
        has_error = isinstance(job, Job) and job.error_type
        error = ["error" if may_read else "error_type"] if has_error else []
        reason = ["reason"] if isinstance(job, Job) and job.reason else []
        return ["id", "status", *reason, *error, "tenant", "queue", "task", "tries", "tag_names"]

    def _running_facts(self) -> list[Any]:
        lease = ["worker", "fence", instant("lease_expires_at"), "cancel_requested"]
        return [
            "priority",
            "timeout_seconds",
            "worker_tags",
            *lease,
            "lost_count",
            "idempotency_key",
            "has_args",
        ]

    @admin.display(description="error")
    def error(self, job: Job) -> str:
        """What the last attempt died of."""
        return f"{job.error_type}: {job.error_message}"

    @admin.display(description="attempts")
    def tries(self, job: Job) -> str:
        """Attempts out of those it may have."""
        return f"{job.attempt} of {1 + job.max_retries}"

    @admin.display(description="tags")
    def tag_names(self, job: Job) -> str:
        """The tags as words."""
        return ", ".join(job.tags) or "-"

    @admin.display(description="payload")
    def payload_text(self, job: Job) -> str:
        """The payload, laid out; every value as it was sent."""
        return _as_text(job.payload)

    @admin.display(description="result")
    def result_text(self, job: Job) -> str:
        """The result, laid out; every value as it was given."""
        return "-" if job.result is None else _as_text(job.result)

    @admin.display(description="payload and result")
    def withheld(self, job: Job) -> str:
        """What stands here for those who may not read them."""
        return "Reading these needs the permission “Can read payloads and results”."

    @admin.display(description="payload and result")
    def unreadable_text(self, job: Job) -> str:
        """What stands here where the key is gone that they are encrypted with."""
        return f"These cannot be read: {job.unreadable.replace('_', ' ')}."

    @admin.display(description="failed attempts")
    def attempts_text(self, job: Job) -> str:
        """The attempts that failed, newest first, with their tracebacks."""
        return self._attempts(job, may_read=True)

    @admin.display(description="failed attempts")
    def attempts_types(self, job: Job) -> str:
        """The same, without what their errors say."""
        return self._attempts(job, may_read=False)

    def _attempts(self, job: Job, *, may_read: bool) -> str:
        attempts = list(job.attempts.order_by("-fence")[: SHOWN_ATTEMPTS + 1])
        context = {
            "attempts": attempts[:SHOWN_ATTEMPTS],
            "are_more": len(attempts) > SHOWN_ATTEMPTS,
            "may_read": may_read,
        }
        return render_to_string("admin/jobs/attempts.html", context)


@admin.register(Job)
class JobAdmin(JobPages):
    """All jobs of all tenants, newest first."""

    list_display = ["id", "status", "tenant", "queue", "task", "tries", instant("created_at")]
    list_filter = [StatusFilter, TenantFilter]


def _as_text(stored: bytes | memoryview) -> str:
    text = readable(bytes(stored), at_most=SHOWN_CHARACTERS)
    return format_html('<pre class="json">{}</pre>', text)
