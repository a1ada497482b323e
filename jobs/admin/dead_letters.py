"""Dead letters: grouped by error, read, then sent back as they were, or edited, or discarded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Max, Min, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator

from jobs.access import actor_of
from jobs.admin.chosen_rows import begin
from jobs.admin.confirmation import AskingAdmin, Verb
from jobs.admin.edited_redrive import EditedRedrive
from jobs.admin.jobs import JobPages, may_read_payloads
from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import CHOICES_AT_MOST, ValueFilter, instant
from jobs.admin.whole_lists import WholeList, export, whole_list
from jobs.encryption import is_sealed
from jobs.filters import MAX_IDS
from jobs.lookup import in_unusual_index, newest
from jobs.models import DeadLetter
from jobs.pace_form import PaceForm
from jobs.statuses import BulkAction, Reason

GROUPED_AT_MOST = 10_000
"""Dead letters that the table of groups looks at: the newest."""
GROUPS_AT_MOST = 50
CHOICES_FROM = 2_000
"""Dead letters that the choices of the filters are taken from: the newest."""


class DeadLetterFilter(ValueFilter):
    """Dead letters with one value in a column."""

    def values(self, model_admin: admin.ModelAdmin) -> Iterable[str]:
        """The values among the newest dead letters."""
        return _recent_values(self.column)


class DeadTenantFilter(TenantFilter):
    """Dead letters of one tenant; offers those that have any."""

    def values(self, model_admin: admin.ModelAdmin) -> Iterable[str]:
        """The tenants of the newest dead letters."""
        return _recent_values("tenant__slug")


class QueueFilter(DeadLetterFilter):
    """Dead letters of one queue."""

    title = parameter_name = column = "queue"


class TaskFilter(DeadLetterFilter):
    """Dead letters of one task."""

    title = parameter_name = column = "task"


class ErrorFilter(DeadLetterFilter):
    """Dead letters that died of one type of error."""

    title, parameter_name, column = "error", "error", "error_type"


class ReasonFilter(ValueFilter):
    """Dead letters that are dead for one reason."""

    title = parameter_name = column = "reason"

    def values(self, model_admin: admin.ModelAdmin) -> Iterable[str]:
        """All reasons."""
        return [reason.value for reason in Reason]


def _recent_values(column: str) -> Iterable[str]:
    recent = newest(DeadLetter.objects.all(), CHOICES_FROM).order_by(column)
    return recent.values_list(column, flat=True).distinct()[:CHOICES_AT_MOST]


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Dead letters that died of the same error in the same task."""

    error_type: str
    task: str
    count: int
    first_at: datetime
    last_at: datetime
    sample: str
    link: str
    whole: WholeList | None


def error_groups(changes: ChangeList) -> list[ErrorGroup]:
    """The largest groups among the newest dead letters of the list as it is filtered."""
    paginator: Any = changes.paginator
    rows = changes.queryset
    groups = (
        (newest(rows, GROUPED_AT_MOST) if paginator.is_cut_off else rows)
        .order_by()
        .values("error_type", "task")
        .annotate(
            count=Count("pk"),
            first_at=Min("finished_at"),
            last_at=Max("finished_at"),
            sample=Max(Left("error_message", 200)),
        )
        .order_by("-count", "-last_at")[:GROUPS_AT_MOST]
    )
    return [
        ErrorGroup(
            **group | {"sample": _sample(group)},
            link=_link(changes, group),
            whole=_whole(changes, group) if group["error_type"] else None,
        )
        for group in groups
    ]


def _sample(group: dict[str, Any]) -> str:
    """An encrypted message is told where its dead letter is."""
    return "(encrypted)" if is_sealed(group["sample"]) else group["sample"]


def _whole(changes: ChangeList, group: dict[str, Any]) -> WholeList | None:
    """What can be done to the whole group; one without a type of error is told by no filter."""
    own = {"error": group["error_type"], "task": group["task"]}
    return whole_list({**_chosen(changes), **own})


def _chosen(changes: ChangeList) -> dict[str, Any]:
    """The values of the list's filters and its search."""
    chosen = {one.parameter_name: one.value() for one in changes.filter_specs}  # type: ignore[attr-defined]
    return chosen | {"q": changes.query}


def _link(changes: ChangeList, group: dict[str, Any]) -> str:
    return changes.get_query_string({"error": group["error_type"], "task": group["task"]})


@admin.register(DeadLetter)
class DeadLetterAdmin(AskingAdmin, JobPages):
    """Jobs that used up their attempts, for a person to decide about."""

    list_display = ["id", "tenant", "queue", "task", "error_line", instant("finished_at")]
    list_filter = [DeadTenantFilter, QueueFilter, TaskFilter, ErrorFilter, ReasonFilter]
    verbs = {
        BulkAction.REDRIVE.value: Verb(
            label="Redrive",
            consequence="They run again as soon as there is room, with all their attempts.",
            permission="operate",
        ),
        BulkAction.DISCARD.value: Verb(
            label="Discard",
            consequence="They are deleted with their payloads and attempts. This cannot be undone.",
            permission="operate",
            is_destructive=True,
        ),
    }
    asked_as_well = PaceForm
    most_at_once = MAX_IDS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The dead letters, in words that let a tenant's be found in the index of theirs."""
        return super().get_queryset(request).filter(in_unusual_index())

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may decide about dead letters."""
        return request.user.has_perm("jobs.operate_job")

    def ask(self, request: HttpRequest, name: str, rows: QuerySet[Any]) -> HttpResponse:
        """The confirmation page; for all that match, where a filter says which, the dashboard's."""
        is_whole = request.POST.get("select_across") == "1"
        whole = whole_list(request.GET.dict()) if is_whole else None
        return redirect(getattr(whole, name)) if whole else super().ask(request, name, rows)

    def carry_out(
        self, request: HttpRequest, name: str, ids: Sequence[Any], **asked: Any
    ) -> str | None:
        """Begin an operation, and go on where its progress is shown."""
        begun = begin(BulkAction(name), ids, actor=actor_of(request), **asked)
        if begun is None:
            messages.warning(request, "Nothing was left to do: others were faster.")
            return None
        dead_letters = reverse("admin:jobs_deadletter_changelist")
        told = 'It has begun. <a href="{}">Back to the dead letters in the admin</a>'
        messages.success(request, format_html(told, dead_letters))
        return reverse("operation", args=[begun.pk])

    def get_urls(self) -> list[URLPattern]:
        """The admin's addresses, the form that edits a payload, and the file of all that match."""
        edit = path(
            "<uuid:job_id>/edit/",
            self.admin_site.admin_view(EditedRedrive.as_view(model_admin=self)),
            name="jobs_deadletter_edit",
        )
        file = path("export/", self.admin_site.admin_view(export), name="jobs_deadletter_export")
        return [edit, file, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and above it the groups of errors."""
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            context["groups"] = error_groups(context["cl"])
            context["whole"] = whole_list(_chosen(context["cl"]))
            context["grouped_at_most"] = f"{GROUPED_AT_MOST:,}"
        return response

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """What errors say is for those who may read payloads; others get their types."""
        error = "error_line" if may_read_payloads(request) else "error_kind"
        return [error if name == "error_line" else name for name in self.list_display]

    @admin.display(description="error")
    def error_line(self, job: DeadLetter) -> str:
        """The error in one line, after the reason where that is not the usual one."""
        return Truncator(f"{self.error_kind(job)}: {job.error_message}").chars(120)

    @admin.display(description="error")
    def error_kind(self, job: DeadLetter) -> str:
        """The type of the error, after the reason where that is not the usual one."""
        is_usual = job.reason == Reason.RETRIES_EXHAUSTED
        return job.error_type if is_usual else f"{job.reason} · {job.error_type}"
