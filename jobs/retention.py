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
from jobs.models import Lane, Tenant, Worker
from jobs.store import Ages

REST = 6
DAY = 86_400
"""Seconds."""
SUM_UP_SECONDS = 3_600
"""Counts are added up once an hour."""


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
    if store.take_turn("sum up", SUM_UP_SECONDS):
        for lane_id in Lane.objects.order_by("pk").values_list("pk", flat=True):
            yield 0
            while store.sum_up(lane_id):
                yield 0


def resting(steps: Iterator[int]) -> Iterator[int]:
    """The same steps, with a rest after each."""
    while True:
        started = time.monotonic()
        if (step := next(steps, None)) is None:
            return
        taken = time.monotonic() - started
        yield step
        time.sleep(REST * taken)
