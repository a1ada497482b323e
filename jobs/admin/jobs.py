"""Jobs: to be found and read. Nothing here writes one."""

import re
import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from jobs.admin.json_text import readable
from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import COUNTED_AT_MOST, BoundedList, ReadOnly, ValueFilter, instant, long_name
from jobs.fingerprint import SEALED
from jobs.lookup import NoIndex, by_id_in_status, edge_of, in_status
from jobs.models import Job, JobTag, Lane, Tenant
from jobs.statuses import Status

SEARCHED_AT_MOST = 10_000
FOUND_AT_ONCE = 1_000
"""So many that were looked for are remembered by their ids; more are found soon each time."""
SHOWN_CHARACTERS = 200_000
SHOWN_ATTEMPTS = 20
TIMES = [instant(name) for name in ("created_at", "run_at", "started_at", "finished_at")]

_ID_START = re.compile(r"0[0-9a-f]{5,31}")
"""An id or its first digits. Ids begin with their time and so, for centuries, with a 0."""


class StatusFilter(ValueFilter):
    """Jobs in one status."""

    title = parameter_name = column = "status"
    is_indexed = True

    def values(self, request: HttpRequest) -> Iterable[str]:
        """All of them, in the order of a job's life."""
        return [status.value for status in Status]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """See `listed_in_status`."""
        status = self.value()
        return listed_in_status(queryset, status) if status else queryset


class JobTenantFilter(TenantFilter):
    """Jobs of one tenant."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Ready ones by the tenant's lanes, with which their index begins."""
        if not (self.value() and _are_ready(request)):
            return super().queryset(request, queryset)
        lanes = Lane.objects.filter(tenant__slug=self.value()).order_by()
        return queryset.filter(lane_id__in=list(lanes.values_list("pk", flat=True)))


def _are_ready(request: HttpRequest) -> bool:
    return request.GET.get(StatusFilter.parameter_name) == Status.PENDING


def listed_in_status(jobs: QuerySet[Any], status: str) -> QuerySet[Any]:
    """The jobs in this status, of all tenants.

    Where there are few, they are looked up in the small index of that status: on the way through
    all jobs, newest first, a page of them might never fill.
    """
    ids = in_status(Job.objects.order_by(), status).values("pk")[: COUNTED_AT_MOST + 1]
    is_few = ids.count() <= COUNTED_AT_MOST
    return jobs.filter(pk__in=ids) if is_few else in_status(jobs, status)


class JobChanges(ChangeList):
    """The jobs that the filters and the search leave, at a bounded cost.

    Tenants, statuses and ids are found through an index. For the rest, as for a task or a text, the
    newest `SEARCHED_AT_MOST` of those that the indexes leave are looked at: once, if few are found.
    """

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: list[str | None] | None = None
    ) -> QuerySet[Any]:
        """The jobs to list, in their order."""
        jobs = super().get_queryset(request, exclude_parameters)
        if _are_ready(request) and request.GET.get(JobTenantFilter.parameter_name):
            jobs = by_id_in_status(jobs, Status.PENDING, oldest_first=False)
        named = _by_index(self.query) if self.query else None
        text = "" if named else self.query
        if not text and not any(one.value() for one in self._filters(are_indexed=False)):
            return jobs
        since = edge_of(self._found_by_index(request, named), SEARCHED_AT_MOST)
        found = jobs
        if since is not None:
            found = _not_before(since, found, are_ready=_are_ready(request))
        if text:
            found = found.filter(_says(text, since, may_read=may_read_payloads(request)))
        ids = list(found.order_by().values_list("pk", flat=True)[: FOUND_AT_ONCE + 1])
        return jobs.filter(pk__in=ids) if len(ids) <= FOUND_AT_ONCE else found

    def _found_by_index(self, request: HttpRequest, named: Q | None) -> QuerySet[Any]:
        jobs = self.root_queryset.filter(named or Q())
        for one in self._filters(are_indexed=True):
            jobs = one.queryset(request, jobs)
        return jobs

    def _filters(self, *, are_indexed: bool) -> list[ValueFilter]:
        specs: list[Any] = self.filter_specs
        return [one for one in specs if one.is_indexed == are_indexed]


def _not_before(since: uuid.UUID, jobs: QuerySet[Any], *, are_ready: bool) -> QuerySet[Any]:
    """SQLite would look at all jobs since then; those that are ready have a small index."""
    if not (are_ready and connection.vendor == "sqlite"):
        return jobs.filter(pk__gte=since)
    return jobs.alias(key=NoIndex("pk")).filter(key__gte=since)


def _by_index(text: str) -> Q | None:
    """The jobs with this id or beginning of one, or of the tenant that is called so."""
    if ids := _ids_starting_with(text):
        return Q(pk__range=ids)
    tenant = Tenant.objects.filter(slug=text.strip()).first()
    return Q(tenant_id=tenant.pk) if tenant else None


def _says(text: str, since: uuid.UUID | None, *, may_read: bool) -> Q:
    """The jobs whose task begins so, whose queue or tag is called so, or whose error has the text.

    What errors say is for those who may read payloads.
    """
    # The index of tags begins with the tenant.
    tagged = JobTag.objects.filter(tag=text, tenant_id__in=Tenant.objects.values("pk"))
    newest = tagged if since is None else tagged.filter(job_id__gte=since)
    names = Q(task__startswith=text) | Q(queue=text) | Q(pk__in=newest.values("job_id"))
    found = names | Q(error_type__icontains=text)
    message = Q(error_message__icontains=text) & ~Q(error_message__startswith=SEALED)
    return found | message if may_read else found


def may_read_payloads(request: HttpRequest) -> bool:
    """Whether the user may read payloads, results, and what errors say."""
    return request.user.has_perm("jobs.view_payload")


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
        "An id or its first digits, or a tenant; else the beginning of a task, a part of an error, "
        f"or a queue or tag. Those are looked for in the newest {SEARCHED_AT_MOST:,} jobs of the "
        "list; messages of errors for those who may read payloads, and not those encrypted."
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """See there."""
        return JobChanges

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Who may see jobs sees dead letters as well."""
        return request.user.has_perm("jobs.view_job")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The jobs without payload and result, which are read for one job at a time."""
        return super().get_queryset(request).defer("payload", "result")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """What an index finds; `JobChanges` looks for the rest."""
        condition = _by_index(search_term) if search_term else None
        return queryset.filter(condition) if condition else queryset, False

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

    list_display = [
        *("id", "status", "tenant", "queue", long_name("task"), "tries"),
        instant("created_at"),
    ]
    list_filter = [StatusFilter, JobTenantFilter]


def _as_text(stored: bytes | memoryview) -> str:
    text = readable(bytes(stored), at_most=SHOWN_CHARACTERS)
    return format_html('<pre class="json">{}</pre>', text)
