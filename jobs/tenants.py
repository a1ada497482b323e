"""Tenants come into being. Their limits change through `services.change_limits`."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from jobs.audit import audit
from jobs.errors import InvalidInput
from jobs.models import START_LIMITS, Tenant

DAYS_KEPT = ("keep_finished_days", "keep_dead_days")
SETTINGS = (
    *("is_active", "weight", *START_LIMITS, "submissions_per_minute", "max_pending"),
    *DAYS_KEPT,
)


def create_tenant(slug: str, *, actor: str, **limits: Any) -> Tenant:
    """A new tenant, with the default limits unless told.

    Raises `InvalidInput` if the slug is malformed or taken, or a limit impossible.
    """
    tenant = Tenant(slug=slug, **limits)
    try:
        tenant.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(f"{field}: {messages[0]}", pointer=field) from None
    with transaction.atomic():
        tenant.save(force_insert=True)
        audit(actor, "create_tenant", tenant.pk, slug, after=settings_of(tenant))
    return tenant


def settings_of(tenant: Tenant) -> dict[str, Any]:
    """What its operator has set, or left as it is by default."""
    return {name: getattr(tenant, name) for name in SETTINGS}
