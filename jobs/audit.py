"""The audit log is written here: who did what to what, from where, what was before and after."""

import uuid
from collections.abc import Sequence
from typing import Any

from jobs.callers import caller_address
from jobs.models import AuditAction, AuditEntry, Tenant

SAMPLE = 100
"""So many ids of jobs are named, however many there are."""


def audit(
    actor: str, action: AuditAction, tenant_id: int | None, target: str, **details: Any
) -> None:
    """Append to the audit log. `actor` is `user:name`, `key:prefix` or `command:name`."""
    AuditEntry.objects.create(
        actor=actor,
        address=caller_address(),
        action=action,
        tenant_id=tenant_id,
        target=target[:200],
        details=details,
    )


def audit_jobs(
    actor: str, action: AuditAction, tenant: Tenant, ids: Sequence[uuid.UUID], **details: Any
) -> None:
    """Append what was done to jobs of a tenant, unless there is none."""
    if ids:
        target = str(ids[0]) if len(ids) == 1 else f"{len(ids)} jobs"
        sample = {"count": len(ids), "jobs": [str(job_id) for job_id in ids[:SAMPLE]]}
        audit(actor, action, tenant.pk, target, **sample, **details)
