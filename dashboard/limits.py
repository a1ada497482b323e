"""The form of the limits of a queue or a tenant: what it takes, REST takes, and the other way."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from jobs import services
from jobs.ceilings import FREE, ceiling
from jobs.errors import AboveCeiling
from jobs.fields import Field
from jobs.limit_fields import QUEUE_LIMITS, TENANT_LIMITS
from jobs.models import Lane, Tenant

OPERATORS_TENANT_LIMITS: Mapping[str, Field] = {
    "weight": QUEUE_LIMITS["weight"],
    **TENANT_LIMITS,
}
"""Of a tenant, what its operator alone may change comes first: its share of the workers."""


class LimitsForm(forms.Form):
    """The limits as they are. By a tenant's own people they go up to what its operator has set."""

    def __init__(self, limited: Lane | Tenant, data: Any = None, *, by_tenant: bool) -> None:
        self.limited, self.by_tenant = limited, by_tenant
        names = _names(limited, by_tenant=by_tenant)
        super().__init__(data, initial={name: getattr(limited, name) for name in names})
        self.label_suffix = ""
        for name, field in names.items():
            self.fields[name] = self._field(name, field)
        next(iter(self.fields.values())).widget.attrs["autofocus"] = True

    def _field(self, name: str, field: Field) -> forms.IntegerField:
        may_be_empty = "null" in field.schema["type"]
        most = ceiling(self.limited, name) if self.by_tenant and name not in FREE else None
        hint = "empty: no limit" if may_be_empty and most is None else ""
        return forms.IntegerField(
            required=not may_be_empty,
            min_value=field.schema["minimum"],
            max_value=field.schema["maximum"],
            label=name.replace("_", " ").capitalize(),
            help_text=hint if most is None else f"up to {most:,}, set by your operator",
        )

    def apply(self, actor: str) -> bool:
        """Change what was changed; False, with the reason in the form, where that is refused."""
        changes = {name: self.cleaned_data[name] for name in self.changed_data}
        try:
            if changes:
                services.change_limits(
                    self.limited, actor=actor, by_tenant=self.by_tenant, **changes
                )
        except AboveCeiling as error:
            self.add_error(error.pointer, error.detail)
        except ValidationError as error:
            self.add_error(None, error)
        return self.is_valid()


def _names(limited: Lane | Tenant, *, by_tenant: bool) -> Mapping[str, Field]:
    if isinstance(limited, Lane):
        return QUEUE_LIMITS
    return TENANT_LIMITS if by_tenant else OPERATORS_TENANT_LIMITS
