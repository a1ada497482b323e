"""How long what has ended is kept: old jobs go, old counts are added up, in steps that are short.

Whoever takes the steps rests after each, for `REST` times as long as it took, so that at most a
seventh of the time of one connection is spent on it. What is kept is read again at each pass.
"""

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

from django.db.models.functions import Now

from jobs import store
from jobs.conf import conf
from jobs.models import Operation, Tenant, Worker
from jobs.statuses import OperationState
from jobs.store import Ages
from jobs.store.minutes import EVERYBODY

REST = 6
DAY = 86_400
"""Seconds."""
CENTURY = 36_525
"""Days; no database can go back for much longer."""
SUM_UP_SECONDS = 900
"""Counts are added up so often."""


def ages_of(tenant: Tenant) -> Ages:
    """When the tenant's jobs are old: by its own days, otherwise by those of the settings."""
    return Ages(
        _seconds(tenant.keep_finished_days or conf().keep_finished_days),
        _seconds(tenant.keep_dead_days or conf().keep_dead_days),
    )


def _seconds(days: float | None) -> float | None:
    return None if days is None else days * DAY


def find_old(tenant: Tenant, ages: Ages) -> Iterator[list[uuid.UUID]]:
    """The tenant's old jobs, some at each step, oldest first; also none at some steps."""
    after: uuid.UUID | None = store.FIRST_ID
    until = store.horizon(ages.least) if ages.least is not None else store.FIRST_ID
    while after is not None:
        old, after = store.find_old(
            tenant.pk, ages, after=after, until=until, limit=conf().purge_batch
        )
        yield old


def purge(tenant: Tenant, ages: Ages) -> Iterator[int]:
    """Delete the tenant's old jobs, and tell at each step how many."""
    for old in find_old(tenant, ages):
        yield store.purge(old, ages) if old else 0


def one_pass() -> Iterator[int]:
    """All that is to be done from time to time; tells at each step how many jobs were deleted."""
    for tenant in Tenant.objects.order_by("pk"):
        yield from purge(tenant, ages_of(tenant))
    store.forget_submissions()
    yield 0
    silent_for = timedelta(seconds=conf().worker_retention_seconds)
    Worker.objects.filter(seen_at__lt=Now() - silent_for).delete()
    yield 0
    while forget_operations():
        yield 0
    if store.take_turn("sum up", SUM_UP_SECONDS):
        yield from _sum_up_minutes()
        yield from _sum_up_waits()


def _sum_up_minutes() -> Iterator[int]:
    for tenant_id in (EVERYBODY, *Tenant.objects.order_by("pk").values_list("pk", flat=True)):
        yield 0
        while store.sum_up(tenant_id):
            yield 0


def _sum_up_waits() -> Iterator[int]:
    tenant_id = store.next_with_waits(-1)
    while tenant_id is not None:
        yield 0
        while store.sum_up_waits(tenant_id):
            yield 0
        tenant_id = store.next_with_waits(tenant_id)


def forget_operations() -> int:
    """Delete some of the operations that ended `keep_operations_days` ago; answers how many.

    With one, its idempotency key is free. The audit log keeps what it did.
    """
    kept = conf().keep_operations_days
    if kept is None:
        return 0
    days = min(kept, CENTURY)
    ended = Operation.objects.exclude(state=OperationState.RUNNING).order_by("pk")
    old = ended.filter(
        pk__lt=store.horizon(days * DAY), finished_at__lt=Now() - timedelta(days=days)
    )
    some = list(old.values_list("pk", flat=True)[: conf().purge_batch])
    gone, _ = Operation.objects.filter(pk__in=some).delete()
    return gone


def resting(steps: Iterator[int]) -> Iterator[int]:
    """The same steps, with a rest after each."""
    while True:
        started = time.monotonic()
        if (step := next(steps, None)) is None:
            return
        taken = time.monotonic() - started
        yield step
        time.sleep(REST * taken)
