"""API keys: made, shown once, revoked. Nothing about a key is ever edited."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.debug import sensitive_variables

from jobs.access import actor_of
from jobs.admin.confirmation import ActingAdmin, Deed
from jobs.admin.jobs import may_read_payloads
from jobs.admin.lanes import TenantFilter
from jobs.admin.lists import BoundedList, instant
from jobs.admin.service_forms import ServiceForms
from jobs.errors import InvalidInput
from jobs.keys import Scope, create_api_key, key_state, queue_names, revoke_api_key
from jobs.models import ApiKey


class ApiKeyForm(forms.ModelForm):
    """What a new key is to be."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, scope.value) for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.SUBMIT, Scope.READ],
        help_text="What the key may do. “admin” implies the others.",
    )
    queues = forms.CharField(
        required=False,
        max_length=10_000,
        help_text="The only queues it may use, separated by commas. Empty for every queue.",
    )

    def clean_queues(self) -> list[str]:
        """The names, which have to be names of queues."""
        queues = [queue.strip() for queue in self.cleaned_data["queues"].split(",")]
        try:
            return queue_names([queue for queue in queues if queue])
        except InvalidInput as error:
            raise forms.ValidationError(error.detail) from None

    class Meta:
        model = ApiKey
        fields: ClassVar = ["tenant", "name", "scopes", "queues", "expires_at"]
        help_texts: ClassVar = {
            "name": "Where it will be used, such as “billing service”.",
            "expires_at": "Empty for a key that lasts until it is revoked.",
        }


def revoke(ids: Sequence[Any], actor: str) -> int:
    """Revoke these keys; answers how many were not revoked yet."""
    keys = ApiKey.objects.filter(pk__in=ids, revoked_at=None)
    for key in keys:
        revoke_api_key(key, actor=actor)
    return len(keys)


@admin.register(ApiKey)
class ApiKeyAdmin(ServiceForms, ActingAdmin, BoundedList):
    """Bearer keys of tenants. The text of a key is in one answer and nowhere else."""

    form = ApiKeyForm
    list_display = [
        *("key", "tenant", "name", "scope_names", "state"),
        *map(instant, ("created_at", "expires_at", "last_used_at")),
    ]
    list_filter = [TenantFilter]
    list_select_related = ["tenant"]
    search_fields = ["prefix", "name"]
    search_help_text = "A part of the prefix or the name."
    autocomplete_fields = ["tenant"]
    verbs = {
        "revoke": Deed(
            label="Revoke",
            done="Revoked",
            consequence="Requests with these keys are refused at once. This cannot be undone.",
            permission="revoke",
            act=revoke,
            is_destructive=True,
        )
    }

    @admin.display(description="key", ordering="prefix")
    def key(self, key: ApiKey) -> str:
        """What may be known of the key's text."""
        return str(key)

    @admin.display(description="scopes")
    def scope_names(self, key: ApiKey) -> str:
        """The scopes as words."""
        return ", ".join(key.scopes)

    @admin.display(description="queues", empty_value="all")
    def queue_names(self, key: ApiKey) -> str | None:
        """The only queues that it may use."""
        return ", ".join(key.queues) or None

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        """Whether the key works now."""
        return key_state(key)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Who may change keys may revoke them."""
        return request.user.has_perm("jobs.change_apikey")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A key is what it was made: whoever needs another makes another."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A revoked key stays, so that its uses can be traced."""
        return False

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """To make a key: what it is to be. Of a key: what is known."""
        if obj is None:
            return ["tenant", "name", "scopes", "queues", "expires_at"]
        times = map(instant, ("created_at", "expires_at", "revoked_at", "last_used_at"))
        return ["key", "tenant", "name", "scope_names", "queue_names", "state", *times]

    def get_form(
        self, request: Any, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        """Who may not read payloads makes no keys that do."""
        form = super().get_form(request, obj, change, **kwargs)
        if not may_read_payloads(request):
            form.base_fields["scopes"] = forms.MultipleChoiceField(
                choices=[(Scope.SUBMIT.value, Scope.SUBMIT.value)],
                widget=forms.CheckboxSelectMultiple,
                initial=[Scope.SUBMIT],
                help_text="Keys with the other scopes read payloads, which needs that right.",
            )
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """All fields of a key that exists."""
        return self.get_fields(request, obj) if obj else []

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, with one button: what comes next is the page that shows the key."""
        buttons = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, (extra_context or {}) | buttons)

    @sensitive_variables("text")
    def save_model(self, request: Any, obj: ApiKey, form: Any, change: bool) -> None:
        """Make the key, and keep its text for the answer to this request."""
        names = ("name", "scopes", "queues", "expires_at")
        wanted = {name: form.cleaned_data[name] for name in names}
        made, text = create_api_key(obj.tenant, actor=actor_of(request), **wanted)
        obj.__dict__.update(made.__dict__)
        request.api_key_text = text

    def response_add(
        self, request: Any, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The page that shows the key, in place of a redirect: so its text is stored nowhere.

        The admin's pages are never cached.
        """
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "The new API key",
            "key": obj,
            "text": request.api_key_text,
        }
        return TemplateResponse(request, "admin/jobs/apikey/created.html", context)
