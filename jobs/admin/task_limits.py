"""Limits of tasks: of one tenant, or of all of them together."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from jobs.access import actor_of
from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import BoundedList
from jobs.admin.service_forms import ServiceForms
from jobs.models import START_LIMITS, TaskLimit
from jobs.services import NEEDS_A_LIMIT, remove_task_limit, set_task_limit

OF_ALL = "all together"


class TaskLimitForm(forms.ModelForm):
    """A limit that limits something."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse a limit without a number."""
        given = super().clean() or {}
        if not self.errors and (given["max_running"], given["starts_per_minute"]) == (None, None):
            raise forms.ValidationError(NEEDS_A_LIMIT)
        return given


@admin.register(TaskLimit)
class TaskLimitAdmin(ServiceForms, BoundedList):
    """How much of a task may run, and how often it may start."""

    form = TaskLimitForm
    actions = None
    list_display = ["task", "whose", *START_LIMITS]
    list_filter = [TenantFilter]
    list_select_related = ["tenant"]
    search_fields = ["task"]
    search_help_text = "A part of the task's name."
    autocomplete_fields = ["tenant"]
    fieldsets = [
        (
            None,
            {
                "fields": ["task", "tenant"],
                "description": "Without a tenant: for the jobs of all tenants together.",
            },
        ),
        ("Limits", {"fields": list(START_LIMITS), "description": "In force at the next claim."}),
    ]

    @admin.display(description="tenant", empty_value=OF_ALL)
    def whose(self, limit: TaskLimit) -> str | None:
        """The tenant whose jobs are limited."""
        return limit.tenant.slug if limit.tenant else None

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """What is limited stays; for another task or tenant there is another limit."""
        return ["task", "whose"] if obj else []

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """The fields; of a limit that exists, the tenant in words."""
        return [(None, {"fields": ["task", "whose"]}), self.fieldsets[1]] if obj else self.fieldsets

    def save_model(self, request: HttpRequest, obj: TaskLimit, form: Any, change: bool) -> None:
        """Set the limits through the gate that claims pass."""
        limits = {name: form.cleaned_data[name] for name in START_LIMITS}
        obj.pk = set_task_limit(obj.tenant, obj.task, actor=actor_of(request), **limits).pk

    def delete_model(self, request: HttpRequest, obj: TaskLimit) -> None:
        """Lift the limit."""
        remove_task_limit(obj.tenant, obj.task, actor=actor_of(request))
