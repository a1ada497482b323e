"""What an entry of the audit log has to tell, for the tests of all that writes there."""

from collections.abc import Mapping, Set
from typing import get_args

from jobs.models import AuditAction, AuditEntry

CHANGE, MADE, GONE = {"before", "after"}, {"after"}, {"before"}
SEVERAL, BY_FILTER = {"count", "jobs"}, {"filter", "count"}
TOLD: Mapping[str, Set[str]] = {
    "submit": set(),
    "cancel": CHANGE,
    "retry": CHANGE,
    "redrive": SEVERAL,
    "discard": SEVERAL,
    "export": {"filter"},
    "purge": {"count", "finished", "dead"},
    "pause": CHANGE,
    "resume": CHANGE,
    "start_operation": BY_FILTER,
    "cancel_operation": BY_FILTER,
    "end_operation": BY_FILTER,
    "fail_operation": BY_FILTER | {"reason"},
    "create_api_key": MADE,
    "rotate_api_key": CHANGE | {"successor"},
    "revoke_api_key": GONE,
    "create_tenant": MADE,
    "delete_tenant": GONE,
    "change_limits": CHANGE,
    "limit_task": CHANGE,
    "unlimit_task": GONE,
    "set_members": CHANGE,
    "change_member": CHANGE,
    "remove_member": GONE,
    "encrypt_tenant": {"key", "wrapped_by"},
    "rotate_tenant_key": {"key", "wrapped_by", "before"},
    "erase_tenant_key": {"count"},
    "rewrap_tenant_keys": {"count"},
    "quiet_worker": CHANGE,
    "stop_worker": CHANGE,
    "resume_worker": CHANGE,
    "create_user": MADE,
    "change_user": set(),  # what changed, or that a password did
    "delete_user": GONE,
    "create_group": MADE,
    "change_group": CHANGE,
    "delete_group": GONE,
}
"""What the details of each action have at least."""


def new_entry(action: str, *, actor: str, address: str | None, after: int) -> AuditEntry:
    """The only entry behind that one: of the action, by whom and from where, with its details."""
    (entry,) = AuditEntry.objects.filter(pk__gt=after)
    assert (entry.action, entry.actor, entry.address) == (action, actor, address)
    assert entry.target
    assert TOLD[action] <= set(entry.details), entry.details
    return entry


def last_entry() -> int:
    """The number of the last entry there is."""
    newest = AuditEntry.objects.order_by("pk").last()
    return newest.pk if newest else 0


def actions() -> set[str]:
    """All the words for what is done."""
    return set(get_args(AuditAction))
