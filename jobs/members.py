"""The people of a tenant: their roles change here, and leave an entry in the audit log."""

from typing import Any

from django.db import transaction

from jobs.models import Membership, Tenant
from jobs.services import audit


def change_membership(
    membership: Membership, *, role: str, sees_payloads: bool, actor: str
) -> None:
    """Give a member another role, or the right to see payloads; in force at their next request."""
    after = {"role": role, "sees_payloads": sees_payloads}
    with transaction.atomic():
        before = _as_json(membership)
        if before == after:
            return
        membership.role, membership.sees_payloads = role, sees_payloads
        membership.save(update_fields=list(after))
        _audit(membership, "change_member", actor, before=before, after=after)


def remove_member(membership: Membership, *, actor: str) -> None:
    """Let a member see the tenant no more."""
    with transaction.atomic():
        _audit(membership, "remove_member", actor, before=_as_json(membership))
        membership.delete()


def roles_of(tenant: Tenant) -> dict[str, dict[str, Any]]:
    """The members by name, each with role and the right to see payloads."""
    members = tenant.memberships.select_related("user").order_by("user__username")
    return {one.user.get_username(): _as_json(one) for one in members}


def _as_json(membership: Membership) -> dict[str, Any]:
    return {"role": membership.role, "sees_payloads": membership.sees_payloads}


def _audit(membership: Membership, action: str, actor: str, **details: Any) -> None:
    name = membership.user.get_username()
    audit(actor, action, membership.tenant_id, name, **details)
