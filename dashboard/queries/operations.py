"""The bulk operations that a page shows, and how far those came that are under way."""

from collections import defaultdict
from typing import Any

from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from dashboard.scope import PageScope
from jobs.job_filters import without_messages
from jobs.models import Operation

LISTED = 50
MOST_UNDER_WAY = 1_000


def visible(scope: PageScope) -> QuerySet[Operation]:
    """Those on jobs of the tenants in scope; for operators those on the jobs of all, as well."""
    own = Q(tenant_id__in=scope.ids)
    shown = own | Q(tenant_id=None) if scope.searched == (None,) else own
    return Operation.objects.filter(shown).annotate(now=Now())


def listed(scope: PageScope) -> list[Operation]:
    """The newest of them, each with `now` and `shown_filter`."""
    return [shown(scope, one) for one in visible(scope).order_by("-pk")[:LISTED]]


def shown(scope: PageScope, operation: Operation) -> Operation:
    """The operation with `shown_filter`: as much of its filter as the user may know."""
    text = operation.filter
    may_read = scope.reads(operation.tenant_id)
    operation.shown_filter = text if may_read else without_messages(text)  # type: ignore[attr-defined]
    return operation


def under_way() -> dict[int | None, list[Any]]:
    """By tenant, None for all tenants: the operations that run, and what they have come to."""
    # The word stands in the statement, so that SQLite recognises the index of running ones.
    is_running = RawSQL("state = 'RUNNING'", (), output_field=BooleanField())
    found = defaultdict(list)
    rows = Operation.objects.filter(is_running).order_by("next_at")[:MOST_UNDER_WAY]
    for tenant_id, *progress in rows.values_list("tenant_id", "pk", "matched"):
        found[tenant_id].append(tuple(progress))
    return {tenant_id: sorted(running) for tenant_id, running in found.items()}
