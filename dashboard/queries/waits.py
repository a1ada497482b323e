"""How long the newest jobs had waited. The minutes keep sums and the longest, and no distribution:
counting one would cost every finish of a job a tenth (see DECISIONS.md)."""

from datetime import timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import DurationField, ExpressionWrapper, F

from dashboard.scope import Scope
from jobs.figures import SAMPLE, SAMPLED_FROM, percentiles
from jobs.lookup import newest
from jobs.models import Job, Tenant
from jobs.statuses import Status

MOST_TENANTS = 5
KEPT_SECONDS = 10
_WAIT = ExpressionWrapper(F("started_at") - F("run_at"), output_field=DurationField())


def recent_p95(scope: Scope) -> float | None:
    """The 95th percentile, in seconds, of the waits of the newest jobs that are done.

    None where nothing of the scope is done among the newest jobs, as behind a long backlog, and for
    more tenants than are sampled one by one.
    """
    searched = scope.searched
    if len(searched) > MOST_TENANTS:
        return None
    key = f"dashboard-p95-{'-'.join(str(one.pk if one else 'all') for one in searched)}"
    found: dict[str, float | None] | None = cache.get(key)
    if found is None:
        found = percentiles([wait for tenant in searched for wait in _waits(tenant)])
        cache.set(key, found, timeout=KEPT_SECONDS)
    return found["p95"]


def _waits(tenant: Tenant | None) -> list[float]:
    own: Any = Job.objects.all() if tenant is None else Job.objects.filter(tenant_id=tenant.pk)
    done = newest(own, SAMPLED_FROM).filter(status=Status.DONE, started_at__isnull=False)
    waits = done.order_by("-pk").annotate(wait=_WAIT).values_list("wait", flat=True)[:SAMPLE]
    return [max(wait, timedelta()).total_seconds() for wait in waits]
