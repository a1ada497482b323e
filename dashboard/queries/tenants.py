"""The tenants: the share that each is due and got, its limits and their use, and who is noisy.

A tenant is due its weight among those that had work in the last hour. What it got are the seconds
that its jobs ran, as workers are shared by time, and beside it the starts.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.paginator import Page, Paginator
from django.db.models import Min, OuterRef, Q, Sum

from dashboard.queries import counts
from dashboard.queries.counts import Count
from dashboard.queries.rows import PAGE
from dashboard.scope import PageScope
from jobs.ceilings import ceiling
from jobs.models import Job, Lane, LaneMinute, Tenant
from jobs.store import submission_window
from jobs.store.clock import now
from jobs.store.depths import RowCount, lanes_with_counts
from jobs.store.minutes import Length, read_counts
from jobs.uuid7 import first_id

HOUR, LATELY = timedelta(hours=1), timedelta(minutes=5)
MONTH_DAYS = 30

OVER_SHARE, OVER_BY = 1.5, 0.05
"""Who got so many times what it was due, and so much more of the whole, held more than its share.
"""
MANY = 50
"""Fewer jobs in five minutes are no noise, however much more they are than before."""
RISE = 3
ARRIVALS_CAP = 10_000
SUSPECTS = 10
"""Of so many, those with the longest backlog, it is counted what came lately."""


class Used(NamedTuple):
    """What was used in a time."""

    started: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0


class Share(NamedTuple):
    """Parts of one, of what all tenants got in the last hour; None where nobody got anything."""

    due: float | None
    run_time: float | None
    starts: float | None


class TenantRow(NamedTuple):
    """A tenant with its figures. `noise` says in words how it disturbs others."""

    tenant: Any
    waiting: Count
    running: int
    share: Share
    noise: list[str]


class _Hour(NamedTuple):
    run_seconds: float = 0.0
    started: int = 0
    lately: int = 0
    before: float | None = None
    """What started in five minutes before those, on average; None if nobody was there for long."""


SORTS: Mapping[str, Callable[[TenantRow], Any]] = {
    "tenant": lambda row: row.tenant.slug,
    "noise": lambda row: (-len(row.noise), -(row.share.run_time or 0)),
    "share": lambda row: -(row.share.run_time or 0),
    "running": lambda row: -row.running,
    "waiting": lambda row: -row.waiting.value,
    "dead": lambda row: -row.tenant.dlq,
}
NOISY = "noisy"
KNOWN_STATES: Mapping[str, Callable[[Tenant], bool]] = {
    "": lambda _: True,
    "active": lambda tenant: tenant.is_active,
    "suspended": lambda tenant: not tenant.is_active,
    NOISY: lambda _: True,
}
"""By what the list is narrowed, as far as that is known before anything is counted."""
STATES = [state for state in KNOWN_STATES if state]


class Listed(NamedTuple):
    """Those of the tenants that are shown, and the page of those that match."""

    rows: list[TenantRow]
    page: Page[Any]


def listed(scope: PageScope, name: str, state: str, sort: str, page: str) -> Listed:
    """A page of the tenants in scope whose name has this, in this state and order.

    Where their names decide, no others than those that are shown are counted.
    """
    found = [one for one in scope.shown if name.lower() in one.slug and KNOWN_STATES[state](one)]
    if sort == "tenant" and state != NOISY:
        by_name = sorted(found, key=lambda tenant: tenant.slug)
        named = Paginator(by_name, PAGE).get_page(page)
        return Listed(rows_of(_with_dead(list(named))), named)
    rows = rows_of(_with_dead(found) if sort == "dead" else found)
    if state == NOISY:
        rows = [row for row in rows if row.noise]
    shown = Paginator(sorted(rows, key=SORTS[sort]), PAGE).get_page(page)
    if sort != "dead":
        _with_dead([row.tenant for row in shown])
    return Listed(list(shown), shown)


def _with_dead(tenants: Sequence[Any]) -> Sequence[Any]:
    """The tenants, each with how many dead letters it has."""
    dead = counts.dead_of([tenant.pk for tenant in tenants])
    for tenant in tenants:
        tenant.dlq = dead[tenant.pk]
    return tenants


def row_of(tenant: Tenant) -> TenantRow:
    """One of them, with all of its counts."""
    (counted,) = counts.tenants_with_counts([tenant.pk])
    (row,) = rows_of([counted])
    return row


def rows_of(tenants: Sequence[Any]) -> list[TenantRow]:
    """These tenants with their figures, in their order."""
    tenant_ids = [tenant.pk for tenant in tenants]
    at = now()
    hours = _hours(at)
    lanes: dict[int, list[Any]] = {}
    for lane in lanes_with_counts(Lane.objects.filter(tenant__in=tenant_ids)):
        lanes.setdefault(lane.tenant_id, []).append(lane)
    waiting = {pk: counts.total([lane.waiting for lane in own]) for pk, own in lanes.items()}
    arrived = _arrived(waiting, at)
    got = _got(hours)
    return [
        TenantRow(
            tenant=tenant,
            waiting=waiting.get(tenant.pk, Count(0)),
            running=sum(lane.running for lane in lanes.get(tenant.pk, [])),
            share=(share := _share(tenant, hours.get(tenant.pk), got)),
            noise=_noise(share, hours.get(tenant.pk, _Hour()), arrived.get(tenant.pk, 0)),
        )
        for tenant in tenants
    ]


def _hours(at: datetime) -> dict[int, _Hour]:
    """What each tenant of the installation got in the last hour, and started lately."""
    ids = Tenant.objects.values_list("pk", flat=True)
    minutes = LaneMinute.objects.filter(tenant_id__in=list(ids)).order_by()
    whole = minutes.filter(minute__gte=at - HOUR).values_list("tenant_id")
    last = Sum("started", filter=Q(minute__gte=at - LATELY), default=0)
    sums = list(
        whole.annotate(Sum("run_seconds"), Sum("started"), lately=last, first=Min("minute"))
    )
    times = (at - LATELY - min((first for *_, first in sums), default=at)) / LATELY
    return {
        tenant_id: _hour(run_seconds, started, lately, times)
        for tenant_id, run_seconds, started, lately, _ in sums
    }


def _hour(run_seconds: float, started: int, lately: int, times: float) -> _Hour:
    """`times`: for so many times five minutes anybody had worked before the last ones."""
    before = (started - lately) / times if times >= 1 else None
    return _Hour(run_seconds, started, lately, before)


class _Got(NamedTuple):
    """What all that had work weigh, and got together."""

    weight: int
    run_seconds: float
    started: int


def _got(hours: Mapping[int, _Hour]) -> _Got:
    weights = Tenant.objects.filter(pk__in=list(hours)).values_list("weight", flat=True)
    run_seconds = sum(one.run_seconds for one in hours.values())
    return _Got(sum(weights), run_seconds, sum(one.started for one in hours.values()))


def _share(tenant: Tenant, own: _Hour | None, got: _Got) -> Share:
    """Its part; one that had no work is due what it would be beside those that had."""
    among = got.weight if own else got.weight + tenant.weight
    own = own or _Hour()
    return Share(
        due=_part(tenant.weight, among),
        run_time=_part(own.run_seconds, got.run_seconds),
        starts=_part(own.started, got.started),
    )


def _part(own: float, whole: float) -> float | None:
    return own / whole if whole else None


def _arrived(waiting: Mapping[int, Count], at: datetime) -> dict[int, int]:
    """Jobs that came lately, of the tenants with the longest backlogs, counted to a cap."""
    fullest = sorted(waiting, key=lambda pk: -waiting[pk].value)[:SUSPECTS]
    since = first_id((at - LATELY).timestamp())
    suspects = Tenant.objects.filter(pk__in=[pk for pk in fullest if waiting[pk].value >= MANY])
    came = Job.objects.filter(tenant_id=OuterRef("pk"), pk__gte=since).order_by().values("pk")
    return dict(suspects.order_by().values_list("pk", RowCount(came[:ARRIVALS_CAP])))


def _noise(share: Share, hour: _Hour, arrived: int) -> list[str]:
    """In what way the tenant disturbs others, in words; nothing if it does not."""
    noise = []
    if share.due and share.run_time and share.run_time > OVER_SHARE * share.due + OVER_BY:
        noise.append(
            f"held {share.run_time:.0%} of the run time of the last hour; {share.due:.0%} is due"
        )
    if arrived >= MANY and arrived > 2 * hour.lately:
        noise.append(f"backlog rises: {arrived:,} jobs came in 5 minutes, {hour.lately:,} started")
    if hour.before is not None and hour.lately >= MANY and hour.lately > RISE * hour.before:
        noise.append(f"starts rose: {hour.lately:,} in 5 minutes, {hour.before:,.0f} before")
    return noise


def used(tenant_ids: Collection[int], at: datetime, days: int = 0) -> dict[int, Used]:
    """What was used since midnight UTC, and on so many days before, by tenant."""
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - timedelta(days=days)
    found = read_counts("tenant_id", Used._fields, Length.DAY, tenant_ids, since)
    return defaultdict(Used, {tenant_id: Used(*sums) for tenant_id, sums in found.items()})


class LimitUse(NamedTuple):
    """A limit of a tenant and how much of it is used; None where that is not counted."""

    name: str
    limit: int | None
    used: Count | None
    ceiling: int | None


def limits_of(row: TenantRow) -> list[LimitUse]:
    """The limits of a tenant, those of what there is before those of how fast it comes."""
    tenant = row.tenant
    submitted = Count(sum(one[1] for one in submission_window(tenant.pk)))
    used = {
        "max_running": Count(row.running),
        "max_pending": counts.total(
            [row.waiting.value, tenant.scheduled, tenant.failed, tenant.blocked]
        ),
        "submissions_per_minute": submitted if tenant.submissions_per_minute else None,
        "starts_per_minute": None,
        "start_burst": None,
    }
    return [
        LimitUse(name.replace("_", " "), getattr(tenant, name), count, ceiling(tenant, name))
        for name, count in used.items()
        if name != "start_burst" or tenant.starts_per_minute
    ]
