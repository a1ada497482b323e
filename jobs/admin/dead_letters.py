"""Dead letters: grouped by error, read, then sent back as they were, or edited, or discarded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import BigIntegerField, QuerySet, TextField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from jobs.access import actor_of
from jobs.admin.chosen_rows import begin
from jobs.admin.confirmation import AskingAdmin, Verb
from jobs.admin.edited_redrive import EditedRedrive
from jobs.admin.jobs import JobPages, may_read_payloads
from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import CHOICES_AT_MOST, ValueFilter, breakable, instant, long_name
from jobs.admin.whole_lists import WholeList, export, whole_list
from jobs.dead_letter_groups import GROUPED, Group, Row, grouped
from jobs.filters import MAX_IDS
from jobs.fingerprint import LOOKED_AT
from jobs.lookup import in_unusual_index, newest
from jobs.models import DeadLetter
from jobs.pace_form import PaceForm
from jobs.statuses import BulkAction, Reason
from jobs.store.dialect import sql

GROUPS_AT_MOST = 50
CHOICES_FROM = 2_000
"""Dead letters that the choices of the filters are taken from: the newest."""


class DeadLetterFilter(ValueFilter):
    """Dead letters with one value in a column."""

    def values(self, request: HttpRequest) -> Iterable[str]:
        """The values among the newest dead letters."""
        return _recent_values(request)[self.column]


class DeadTenantFilter(TenantFilter):
    """Dead letters of one tenant; offers those that have any."""

    def values(self, request: HttpRequest) -> Iterable[str]:
        """The tenants of the newest dead letters."""
        return _recent_values(request)["tenant__slug"]


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

    def values(self, request: HttpRequest) -> Iterable[str]:
        """All reasons."""
        return [reason.value for reason in Reason]


_CHOICES = ("tenant__slug", "queue", "task", "error_type")


def _recent_values(request: HttpRequest) -> Mapping[str, Sequence[str]]:
    """The values of these columns among the newest dead letters: all are read once for a page."""
    kept = vars(request)
    if "recent_values" not in kept:
        recent = newest(DeadLetter.objects.order_by(), CHOICES_FROM).values_list(*_CHOICES)
        columns = [set(column) for column in zip(*recent, strict=True)] or [set()] * len(_CHOICES)
        offered = (sorted(values)[:CHOICES_AT_MOST] for values in columns)
        kept["recent_values"] = dict(zip(_CHOICES, offered, strict=True))
    found: Mapping[str, Sequence[str]] = kept["recent_values"]
    return found


class ErrorGroup(NamedTuple):
    """Dead letters that died of the same; `link` leads to them."""

    group: Group
    link: str
    whole: WholeList | None

    @property
    def task(self) -> str:
        """Its task, to be shown."""
        return breakable(self.group.task)

    @property
    def error(self) -> str:
        """What its errors have in common, to be shown."""
        parts = (breakable(self.group.error_type), self.group.shown_kind)
        return format_html_join(": ", "{}", ([part] for part in parts if part))


def error_groups(changes: ChangeList, *, tells_messages: bool) -> list[ErrorGroup]:
    """The largest groups among the newest dead letters of the list as it is filtered."""
    rows = newest(changes.queryset, GROUPED).order_by("-pk")
    columns = ("task", "error_type", Left("error_message", LOOKED_AT))
    letters = map(Row._make, rows.values_list(_ID, *columns, _died()))
    groups, _ = grouped(letters, tells_messages=tells_messages, at_most=GROUPS_AT_MOST)
    return [_listed(changes, group) for group in groups]


# As the driver reads it, like the time: to make objects of all takes longer than all the rest.
_ID = RawSQL("jobs_job.id", (), output_field=TextField())


def _died() -> RawSQL:
    died = sql("MICROSECONDS(jobs_job.finished_at)")
    return RawSQL(died, (), output_field=BigIntegerField())  # noqa: S611  (the words are ours)


def _listed(changes: ChangeList, group: Group) -> ErrorGroup:
    """What no filter can say, as a search, narrows the list of the admin alone."""
    whole = whole_list(_chosen(changes), group)
    narrowed = changes.get_query_string({"error": group.error_type, "task": group.task})
    return ErrorGroup(group, whole.listed if whole else narrowed, whole)


def _chosen(changes: ChangeList) -> dict[str, Any]:
    """The values of the list's filters and its search."""
    chosen = {one.parameter_name: one.value() for one in changes.filter_specs}  # type: ignore[attr-defined]
    return chosen | {"q": changes.query}


@admin.register(DeadLetter)
class DeadLetterAdmin(AskingAdmin, JobPages):
    """Jobs that used up their attempts, for a person to decide about."""

    list_display = [
        "id",
        "tenant",
        "queue",
        long_name("task"),
        "error_line",
        instant("finished_at"),
    ]
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
            tells_messages = may_read_payloads(request)
            context["groups"] = error_groups(context["cl"], tells_messages=tells_messages)
            context["whole"] = whole_list(_chosen(context["cl"]))
            context["grouped_at_most"] = f"{GROUPED:,}"
        return response

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """What errors say is for those who may read payloads; others get their types."""
        error = "error_line" if may_read_payloads(request) else "error_kind"
        return [error if name == "error_line" else name for name in self.list_display]

    @admin.display(description="error")
    def error_line(self, job: DeadLetter) -> str:
        """The error in one line, after the reason where that is not the usual one."""
        said = Truncator(job.error_message).chars(120)
        return format_html("{}: {}", self.error_kind(job), said)

    @admin.display(description="error")
    def error_kind(self, job: DeadLetter) -> str:
        """The type of the error, after the reason where that is not the usual one."""
        is_usual = job.reason == Reason.RETRIES_EXHAUSTED
        kind = breakable(job.error_type)
        return kind if is_usual else format_html("{} · {}", job.reason.replace("_", " "), kind)
