"""The people of a tenant: their roles change here, and leave an entry in the audit log."""

from typing import Any

from django.db import transaction

from jobs.audit import audit
from jobs.errors import StatusConflict
from jobs.models import AuditAction, Membership, Role, Tenant


def change_membership(
    membership: Membership,
    *,
    role: str,
    sees_payloads: bool,
    may_leave_none: bool = False,
    actor: str,
) -> None:
    """Give a member another role, or the right to see payloads; in force at their next request.

    Raises `StatusConflict` if the tenant were left without an admin, unless it may be.
    """
    after = {"role": role, "sees_payloads": sees_payloads}
    with transaction.atomic():
        now = _locked(membership)
        if now is None or (before := _as_json(now)) == after:
            return
        if role != Role.ADMIN and not may_leave_none:
            _refuse_last_admin(now)
        membership.role, membership.sees_payloads = role, sees_payloads
        membership.save(update_fields=list(after))
        _audit(membership, "change_member", actor, before=before, after=after)


def remove_member(membership: Membership, *, may_leave_none: bool = False, actor: str) -> None:
    """Let a member see the tenant no more; raises `StatusConflict` as `change_membership` does.

    Removing somebody again changes nothing.
    """
    with transaction.atomic():
        now = _locked(membership)
        if now is None:
            return
        if not may_leave_none:
            _refuse_last_admin(now)
        _audit(membership, "remove_member", actor, before=_as_json(now))
        now.delete()


def _locked(membership: Membership) -> Membership | None:
    """The membership as it is, held with all of the tenant's; None if it is gone.

    All are locked, in one order: of two admins who remove each other, the later finds itself alone.
    """
    every = Membership.objects.filter(tenant=membership.tenant_id).order_by("pk")
    return next((x for x in every.select_for_update() if x.pk == membership.pk), None)


def _refuse_last_admin(membership: Membership) -> None:
    admins = Membership.objects.filter(tenant=membership.tenant_id, role=Role.ADMIN)
    if membership.role == Role.ADMIN and not admins.exclude(pk=membership.pk).exists():
        raise StatusConflict("This is the tenant's last admin; make somebody else an admin first.")


def roles_of(tenant: Tenant) -> dict[str, dict[str, Any]]:
    """The members by name, each with role and the right to see payloads."""
    members = tenant.memberships.select_related("user").order_by("user__username")
    return {one.user.get_username(): _as_json(one) for one in members}


def _as_json(membership: Membership) -> dict[str, Any]:
    return {"role": membership.role, "sees_payloads": membership.sees_payloads}


def _audit(membership: Membership, action: AuditAction, actor: str, **details: Any) -> None:
    name = membership.user.get_username()
    audit(actor, action, membership.tenant_id, name, **details)
