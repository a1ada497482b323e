"""What is done to dead letters that were chosen by hand: one operation, as for a whole list."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

from django.db import transaction

from jobs import operations
from jobs.audit import audit
from jobs.filters import spelled
from jobs.models import DeadLetter, Operation, Tenant
from jobs.statuses import BulkAction


def begin(
    action: BulkAction, ids: Sequence[uuid.UUID], *, actor: str, rate_per_second: float | None
) -> Operation | None:
    """Begin an operation on those that are dead letters; None if none is.

    Where they are of several tenants it is one on all, with one pace and one progress, and each
    tenant's log says how many of its own are among them. Raises `TooManyOperations`.
    """
    by_tenant = _by_tenant(ids)
    if not by_tenant:
        return None
    found = [str(job_id) for own in by_tenant.values() for job_id in own]
    text = f"status:DLQ {spelled('id', *found)}"
    only = Tenant.objects.get(pk=min(by_tenant)) if len(by_tenant) == 1 else None
    with transaction.atomic():
        begun = operations.start(only, action, text, actor=actor, rate_per_second=rate_per_second)
        if only is None:
            _audit_parts(begun, by_tenant)
    return begun


def _by_tenant(ids: Sequence[uuid.UUID]) -> Mapping[int, list[uuid.UUID]]:
    own_ids = defaultdict(list)
    rows = DeadLetter.objects.filter(pk__in=ids).order_by("pk")
    for tenant_id, job_id in rows.values_list("tenant_id", "pk"):
        own_ids[tenant_id].append(job_id)
    return own_ids


def _audit_parts(operation: Operation, by_tenant: Mapping[int, Sequence[uuid.UUID]]) -> None:
    for tenant_id, ids in by_tenant.items():
        sample = [str(job_id) for job_id in ids[:100]]
        audit(
            operation.actor,
            "start_operation",
            tenant_id,
            operations.target_of(operation),
            count=len(ids),
            jobs=sample,
            rate_per_second=operation.rate_per_second,
        )
