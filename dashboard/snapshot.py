"""One small read that tells which regions of the pages have changed, whatever the throughput.

For each tenant it takes a handful of figures, each found by an index in a bounded number of steps.
They are compared, never shown: who wants to see more fetches the region.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Max, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Now

from dashboard.queries.counts import capped, newest_start_of_tenant, running_of_tenant
from dashboard.queries.operations import under_way
from jobs.figures import ENDED
from jobs.models import AuditEntry, Job, LaneMinute, Tenant, Worker
from jobs.statuses import UNUSUAL
from jobs.worker_states import is_present

CAP = 1_000
RECENT = timedelta(minutes=2)
_DIED = 1 + ENDED.index("dead")
"""Where a minute of what ended says how many died: behind the minute itself."""


class Figures(NamedTuple):
    """What of a tenant is compared. Waiting jobs need no count: they come and go by the others."""

    newest_job: object
    running: object
    unusual: object
    dead: object
    ended: object
    settings: object
    workers: object
    operations: object


REGIONS: Mapping[str, tuple[str, ...]] = {
    "attention": ("newest_job", "running", "unusual", "settings", "workers"),
    "start": ("newest_job", "ended", "settings", "workers"),
    "tiles": ("newest_job", "running", "unusual", "ended"),
    "throughput": ("newest_job", "running", "ended"),
    "tenants": ("newest_job", "running", "unusual", "ended", "settings"),
    "queues": ("newest_job", "running", "unusual", "ended", "settings"),
    "jobs": ("newest_job", "running", "unusual", "ended", "settings"),
    "job": ("running", "unusual", "ended", "settings"),
    "logs": ("running", "unusual", "ended", "settings"),
    "dead": ("dead", "settings"),
    "workers": ("workers",),
    "queue_list": ("newest_job", "running", "unusual", "ended", "settings", "workers"),
    "tenant_list": ("newest_job", "running", "unusual", "ended", "settings"),
    "tenant": ("newest_job", "running", "unusual", "ended", "settings"),
    "worker_list": ("workers", "running"),
    "operations": ("operations", "settings"),
    "operation": ("operations", "settings"),
    "apikeys": ("settings",),
    "audit": ("settings",),
}
"""The regions and the figures by which each is known to have changed."""

Snapshot = Mapping[int, Figures]


def read_snapshot(tenant_ids: Collection[int] | None) -> Snapshot:
    """The figures of the tenants by id; of all tenants if None."""
    tenants = _tenants(tenant_ids)
    if not tenants:
        return {}
    ended = _ended([tenant.pk for tenant in tenants], tenants[0].now)
    shared = _last_audit_entry_of_all(), _workers(tenants[0].now), under_way()
    return {tenant.pk: _figures(tenant, ended.get(tenant.pk, []), *shared) for tenant in tenants}


def _tenants(tenant_ids: Collection[int] | None) -> list[Any]:
    known = Tenant.objects.all() if tenant_ids is None else Tenant.objects.filter(pk__in=tenant_ids)
    newest = Job.objects.filter(tenant_id=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    entries = AuditEntry.objects.filter(tenant_id=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    counts = {status.value.lower(): capped(status, CAP) for status in UNUSUAL}
    return list(
        known.annotate(
            now=Now(),
            newest_job=Subquery(newest),
            last_entry=Subquery(entries),
            running=running_of_tenant(),
            newest_start=newest_start_of_tenant(),
            **counts,
        )
    )


def _ended(tenant_ids: Collection[int], now: datetime) -> dict[int, list[tuple[object, ...]]]:
    """What ended in each of the last minutes: a sum over them stays as it is when one job ends
    while the minute of another leaves."""
    rows = (
        LaneMinute.objects.filter(tenant_id__in=tenant_ids, minute__gte=now - RECENT)
        .values_list("tenant_id", "minute")
        .annotate(*[Sum(name) for name in ENDED])
        .order_by("tenant_id", "minute")
    )
    ended: dict[int, list[tuple[object, ...]]] = {}
    for tenant_id, *minute in rows:
        ended.setdefault(tenant_id, []).append(tuple(minute))
    return ended


def _last_audit_entry_of_all() -> int | None:
    """Rises when somebody changes what all tenants share, such as the limit of a task."""
    own_to_none = AuditEntry.objects.filter(tenant_id__isnull=True)
    return own_to_none.order_by("-pk").values_list("pk", flat=True).first()


def _workers(now: datetime) -> tuple[object, ...]:
    figures = Worker.objects.aggregate(
        present=Count("pk", filter=is_present(now)),
        draining=Count("pk", filter=Q(is_draining=True)),
        running=Sum("running"),
        seen=Max("seen_at"),
        stopped=Max("stopped_at"),
    )
    return tuple(figures.values())


def _figures(
    tenant: Any,
    ended: list[tuple[object, ...]],
    shared_entry: object,
    workers: object,
    running: Mapping[int | None, list[object]],
) -> Figures:
    entries = tenant.last_entry, shared_entry
    died = tuple(minute[_DIED] for minute in ended)
    return Figures(
        newest_job=tenant.newest_job,
        running=(tenant.running, tenant.newest_start),
        unusual=tuple(getattr(tenant, status.value.lower()) for status in UNUSUAL),
        dead=(tenant.dlq, died),
        ended=tuple(ended),
        settings=(*entries, tenant.weight, tenant.max_running, tenant.is_active),
        workers=workers,
        operations=(*running.get(tenant.pk, ()), *running.get(None, ())),
    )


def changed_regions(before: Snapshot, after: Snapshot) -> dict[str, set[int]]:
    """The regions that look different, each with the tenants for whom it does.

    All of them for a tenant that is in one snapshot alone: it came or went, or somebody watches it
    since, and nobody can tell whether it changed between what that page shows and the snapshot.
    """
    changed: dict[str, set[int]] = {}
    for tenant_id in before.keys() | after.keys():
        earlier, later = before.get(tenant_id), after.get(tenant_id)
        if earlier == later:
            continue
        for region, inputs in REGIONS.items():
            if _inputs_of(earlier, inputs) != _inputs_of(later, inputs):
                changed.setdefault(region, set()).add(tenant_id)
    return changed


def _inputs_of(figures: Figures | None, inputs: tuple[str, ...]) -> list[object]:
    return [getattr(figures, name) for name in inputs] if figures else []
