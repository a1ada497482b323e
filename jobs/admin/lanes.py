"""Lanes: one tenant's part of one queue. They come with the first job and are only tuned here."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from jobs.access import actor_of
from jobs.admin.confirmation import ActingAdmin, Deed
from jobs.admin.lists import CHOICES_AT_MOST, BoundedList, ValueFilter, instant
from jobs.admin.service_forms import ServiceForms
from jobs.models import START_LIMITS, Lane, Tenant
from jobs.services import change_limits, set_queue_paused

LIMITS = ("weight", *START_LIMITS)
PAUSED_AT = instant("paused_at")


class TenantFilter(ValueFilter):
    """Rows of one tenant."""

    title = parameter_name = "tenant"
    column = "tenant"
    is_indexed = True

    def values(self, request: HttpRequest) -> Iterable[str]:
        """The first tenants by name; a tenant's own page leads to the others'."""
        return Tenant.objects.values_list("slug", flat=True)[:CHOICES_AT_MOST]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with the tenant's id, which is in their indexes; its slug is not."""
        tenant = Tenant.objects.filter(slug=self.value()).values("pk")[:1]
        return queryset.filter(tenant=tenant) if self.value() else queryset


class PausedFilter(ValueFilter):
    """Lanes that are paused, or not."""

    title, parameter_name, column = "paused", "paused", "is_paused"

    def values(self, request: HttpRequest) -> Iterable[str]:
        """Both."""
        return ["True", "False"]


def _set_paused(ids: Sequence[Any], actor: str, *, paused: bool) -> int:
    lanes = Lane.objects.filter(pk__in=ids, is_paused=not paused).select_related("tenant")
    for lane in lanes:
        set_queue_paused(lane.tenant, lane.queue, paused=paused, actor=actor)
    return len(lanes)


def pause(ids: Sequence[Any], actor: str) -> int:
    """Pause these lanes; answers how many were not."""
    return _set_paused(ids, actor, paused=True)


def resume(ids: Sequence[Any], actor: str) -> int:
    """Resume these lanes; answers how many were paused."""
    return _set_paused(ids, actor, paused=False)


@admin.register(Lane)
class LaneAdmin(ServiceForms, ActingAdmin, BoundedList):
    """Limits, weight and pause of a tenant's queue."""

    list_display = [
        *("queue", "tenant", "is_paused", "max_running", "starts_per_minute", "weight"),
        instant("created_at"),
    ]
    list_filter = [TenantFilter, PausedFilter]
    list_select_related = ["tenant"]
    search_fields = ["queue"]
    search_help_text = "A part of the queue's name."
    fields = ["tenant", "queue", "is_paused", "pause_reason", "paused_by", PAUSED_AT, *LIMITS]
    readonly_fields = ["tenant", "queue", "paused_by", PAUSED_AT]
    verbs = {
        "pause": Deed(
            label="Pause",
            done="Paused",
            consequence="No further job of these queues starts; running ones go on.",
            permission="change",
            act=pause,
        ),
        "resume": Deed(
            label="Resume",
            done="Resumed",
            consequence="Their waiting jobs start again.",
            permission="change",
            act=resume,
        ),
    }

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A lane comes with the first job of its queue."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Jobs refer to their lane for ever."""
        return False

    def save_model(self, request: HttpRequest, obj: Lane, form: Any, change: bool) -> None:
        """Change what was changed, through the gate that claims pass."""
        lane, actor = Lane.objects.select_related("tenant").get(pk=obj.pk), actor_of(request)
        changes = {name: form.cleaned_data[name] for name in LIMITS if name in form.changed_data}
        if changes:
            change_limits(lane, actor=actor, **changes)
        if {"is_paused", "pause_reason"} & set(form.changed_data):
            why = form.cleaned_data["pause_reason"] if obj.is_paused else ""
            set_queue_paused(lane.tenant, lane.queue, paused=obj.is_paused, actor=actor, reason=why)
