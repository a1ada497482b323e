"""The audit log: who did what to what. It is written by the services and only read here."""

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import CHOICES_AT_MOST, BoundedList, ReadOnly, ValueFilter, instant
from jobs.lookup import newest
from jobs.models import AuditEntry
from jobs.operations import details_of

SEARCHED_AT_MOST = 100_000


class ActionFilter(ValueFilter):
    """Entries of one kind of action."""

    title = parameter_name = column = "action"

    def values(self, request: HttpRequest) -> Iterable[str]:
        """The actions among the newest entries."""
        recent = newest(AuditEntry.objects.all(), SEARCHED_AT_MOST).order_by("action")
        return recent.values_list("action", flat=True).distinct()[:CHOICES_AT_MOST]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, BoundedList):
    """Append only: there is no way to change an entry here."""

    list_display = [instant("at"), "actor", "address", "action", "tenant", "target"]
    list_filter = [ActionFilter, TenantFilter]
    list_select_related = ["tenant"]
    search_fields = ["actor", "address", "target"]
    search_help_text = "A part of actor, address or target, in the newest 100,000 entries."
    entry_fields = (instant("at"), "actor", "address", "action", "tenant", "target")

    def get_fields(self, request: HttpRequest, obj: AuditEntry | None = None) -> Any:
        """With as much of the filters of bulk actions as the user may know."""
        may_read = request.user.has_perm("jobs.view_payload")
        return [*self.entry_fields, "details_text" if may_read else "details_without_messages"]

    @admin.display(description="details")
    def details_text(self, entry: AuditEntry) -> str:
        """What else is known, laid out."""
        return _laid_out(details_of(entry, may_read=True))

    @admin.display(description="details")
    def details_without_messages(self, entry: AuditEntry) -> str:
        """The same, without what errors say."""
        return _laid_out(details_of(entry, may_read=False))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search the newest entries alone."""
        searched = newest(queryset, SEARCHED_AT_MOST) if search_term else queryset
        return super().get_search_results(request, searched, search_term)


def _laid_out(details: dict[str, Any]) -> str:
    return format_html("<pre>{}</pre>", json.dumps(details, indent=2, ensure_ascii=False))
