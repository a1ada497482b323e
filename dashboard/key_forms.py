"""What is asked of somebody who makes or rotates a key."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from dashboard.scope import PageScope
from jobs.errors import InvalidInput
from jobs.keys import Scope, queue_names, reads_payloads
from jobs.models import Tenant

MEANINGS = {
    Scope.SUBMIT: "submit, cancel and retry jobs",
    Scope.READ: "read jobs, queues and figures",
    Scope.WORK: "lease and finish jobs, as a worker",
    Scope.ADMIN: "queues, dead letters, limits, keys, and all of the above",
}
ONLY_SUBMIT = (
    "Keys with the other scopes read payloads: they are made by somebody who may see those, too."
)
OVERLAPS = {
    0: "not at all",
    3_600: "one hour",
    86_400: "one day",
    7 * 86_400: "7 days",
    30 * 86_400: "30 days",
}
MAX_DAYS = 3_650


def _choice(scope: Scope) -> tuple[str, str]:
    return scope.value, f"{scope.value}: {MEANINGS[scope]}"


class KeyForm(forms.Form):
    """A key to be made, for a tenant that the user administers."""

    tenant = forms.ChoiceField()
    name = forms.CharField(
        max_length=100, required=False, help_text="Where it will be used, such as “billing”."
    )
    scopes = forms.MultipleChoiceField(
        choices=[_choice(scope) for scope in Scope],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.SUBMIT, Scope.READ],
    )
    queues = forms.CharField(
        required=False,
        max_length=10_000,
        help_text="The only ones it may use, separated by commas; empty: all.",
    )
    expires_days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_DAYS,
        label="Expires after (days)",
        help_text="Empty: it works until it is revoked.",
    )

    def __init__(self, scope: PageScope, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.scope = scope
        offered = sorted(slug for pk, slug in scope.slugs.items() if pk in scope.administrable)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(slug, slug) for slug in offered]
        self.initial.setdefault("tenant", scope.chosen.slug if scope.chosen else offered[0])
        if not scope.administrable & scope.readable:
            self._offer_submit_alone()

    def _offer_submit_alone(self) -> None:
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [_choice(Scope.SUBMIT)]
        field.initial, field.help_text = [Scope.SUBMIT], ONLY_SUBMIT

    def clean_queues(self) -> list[str]:
        """The names, which have to be names of queues."""
        given = [queue.strip() for queue in self.cleaned_data["queues"].split(",")]
        try:
            return queue_names([queue for queue in given if queue])
        except InvalidInput as error:
            raise forms.ValidationError(error.detail) from error

    def clean(self) -> None:
        """A key reads no payloads of a tenant whose payloads its maker may not see."""
        super().clean()
        if {"tenant", "scopes"} <= self.cleaned_data.keys():
            tenant, scopes = self.tenant_of_key(), self.cleaned_data["scopes"]
            if reads_payloads(scopes) and tenant.pk not in self.scope.readable:
                self.add_error("scopes", ONLY_SUBMIT)

    def tenant_of_key(self) -> Tenant:
        """The tenant that was chosen."""
        return self.scope.tenant(self.cleaned_data["tenant"])

    @property
    def wanted(self) -> dict[str, Any]:
        """What the key is to be, for `create_api_key`."""
        days = self.cleaned_data["expires_days"]
        return {
            **{name: self.cleaned_data[name] for name in ("name", "scopes", "queues")},
            "expires_at": timezone.now() + timedelta(days=days) if days else None,
        }


class RotationForm(forms.Form):
    """How long the old key still works beside the new one."""

    overlap = forms.TypedChoiceField(
        label="The old key goes on for",
        choices=list(OVERLAPS.items()),
        coerce=int,
        initial=86_400,
        help_text="Put the new one in place meanwhile. Afterwards the old one is refused.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
