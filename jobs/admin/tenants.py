"""Tenants: made, limited, switched off; with what they have running, waiting and dead."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from jobs.access import actor_of
from jobs.admin.jobs import may_read_payloads
from jobs.admin.lists import BoundedList, instant
from jobs.admin.service_forms import ServiceForms
from jobs.audit import audit
from jobs.errors import StatusConflict
from jobs.lookup import in_status
from jobs.members import roles_of
from jobs.models import START_LIMITS, Job, Membership, Tenant
from jobs.services import change_limits, delete_tenant
from jobs.statuses import WAITING, Status
from jobs.store.depths import RowCount
from jobs.tenant_keys import state_of
from jobs.tenants import DAYS_KEPT, create_tenant

LIMITS = ("is_active", "weight", *START_LIMITS, "submissions_per_minute", "max_pending")
CREATED = instant("created_at")
COUNTED_AT_MOST = 1_000
"""Jobs that a figure in the list counts; beyond, it says so."""


def _counted(jobs: QuerySet[Job]) -> RowCount:
    """How many jobs these are, counted up to a bound: the inner query ends there."""
    return RowCount(jobs.order_by().values("pk")[: COUNTED_AT_MOST + 1])


class MembershipInline(admin.TabularInline):
    """The people of a tenant; who may change the tenant changes them."""

    model = Membership
    autocomplete_fields = ["user"]
    extra = 0
    verbose_name, verbose_name_plural = "member", "people"

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Who may not read payloads lets nobody read them."""
        return [] if may_read_payloads(request) else ["sees_payloads"]

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As for the tenant."""
        return self.has_change_permission(request) or request.user.has_perm("jobs.view_tenant")

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As changing the tenant."""
        return self.has_change_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As changing the tenant."""
        return request.user.has_perm("jobs.change_tenant")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As changing the tenant."""
        return self.has_change_permission(request)


@admin.register(Tenant)
class TenantAdmin(ServiceForms, BoundedList):
    """Who owns jobs, keys and limits."""

    list_display = [
        *("slug", "is_active", "running", "waiting", "dead"),
        *(name for name in LIMITS[1:] if name != "start_burst"),
    ]
    search_fields = ["slug"]
    search_help_text = "A part of the slug."
    ordering = ["slug"]
    inlines = [MembershipInline]
    fieldsets = [
        (None, {"fields": ["slug", "is_active"]}),
        ("Limits", {"fields": list(LIMITS[1:]), "description": "In force at the next claim."}),
        ("Kept", {"fields": list(DAYS_KEPT), "description": "Then workers delete what has ended."}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        """Tenants with their figures, each counted up to a bound through an index of its own."""
        own = Job.objects.filter(tenant=OuterRef("pk"))
        # Ready jobs are indexed by lane, the other waiting ones by tenant.
        of_lanes = Job.objects.filter(lane__tenant=OuterRef("pk"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                running_jobs=_counted(in_status(own, Status.RUNNING)),
                ready_jobs=_counted(in_status(of_lanes, Status.PENDING)),
                later_jobs=_counted(in_status(own, *(WAITING - {Status.PENDING}))),
                dead_jobs=_counted(in_status(own, Status.DLQ)),
            )
        )

    @admin.display(description="running")
    def running(self, tenant: Any) -> str:
        """Jobs that run now, as a link to them."""
        return _linked("job", tenant, tenant.running_jobs, status=Status.RUNNING)

    @admin.display(description="waiting")
    def waiting(self, tenant: Any) -> str:
        """Jobs that will run: ready, scheduled, blocked or to be retried."""
        return _figure(tenant.ready_jobs + tenant.later_jobs)

    @admin.display(description="dead")
    def dead(self, tenant: Any) -> str:
        """Dead letters, as a link to them."""
        return _linked("deadletter", tenant, tenant.dead_jobs)

    @admin.display(description="encryption")
    def encryption(self, tenant: Tenant) -> str:
        """Whether payloads, results and errors are encrypted at rest; a command changes it."""
        return state_of(tenant)

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The fields; for a tenant that exists, its figures as well."""
        figures = ("Now", {"fields": ["running", "waiting", "dead", "encryption", CREATED]})
        return [figures, *self.fieldsets] if obj else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """Figures are computed, and a slug is what keys, logs and addresses refer to."""
        return ["running", "waiting", "dead", "encryption", CREATED, *(["slug"] if obj else [])]

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A tenant that is switched off and has no jobs may be deleted, one at a time."""
        if not isinstance(obj, Tenant) or obj.is_active:
            return False
        is_empty = not Job.objects.filter(tenant=obj).exists()
        return is_empty and super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, ...]:
        """What goes with a tenant: its lanes and keys, whatever may be done to them otherwise."""
        to_delete, counts, _, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, set(), protected

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """Make the tenant, or change what was changed of its limits."""
        if not change:
            limits = {name: form.cleaned_data[name] for name in (*LIMITS, *DAYS_KEPT)}
            made = create_tenant(obj.slug, actor=actor_of(request), **limits)
            obj.pk, obj.created_at = made.pk, made.created_at
            return
        changed = [name for name in (*LIMITS, *DAYS_KEPT) if name in form.changed_data]
        if changes := {name: form.cleaned_data[name] for name in changed}:
            change_limits(Tenant.objects.get(pk=obj.pk), actor=actor_of(request), **changes)

    def save_related(
        self, request: HttpRequest, form: forms.ModelForm, formsets: Any, change: bool
    ) -> None:
        """Set the members, and note who they were and are now."""
        tenant = form.instance
        before = roles_of(tenant)
        super().save_related(request, form, formsets, change)
        if any(formset.has_changed() for formset in formsets):
            details = {"before": before, "after": roles_of(tenant)}
            audit(actor_of(request), "set_members", tenant.pk, tenant.slug, **details)

    def delete_model(self, request: HttpRequest, obj: Tenant) -> None:
        """Delete the tenant, unless a job was submitted to it since it was looked at."""
        try:
            delete_tenant(obj, actor=actor_of(request))
        except StatusConflict as error:
            raise PermissionDenied(error.detail) from None


def _figure(count: int) -> str:
    return f"{COUNTED_AT_MOST:,}+" if count > COUNTED_AT_MOST else f"{count:,}"


def _linked(model_name: str, tenant: Tenant, count: int, **parameters: str) -> str:
    address = reverse(
        f"admin:jobs_{model_name}_changelist", query={"tenant": tenant.slug} | parameters
    )
    return format_html('<a href="{}">{}</a>', address, _figure(count))
