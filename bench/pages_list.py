"""The pages and lists that are measured; a route that is neither here nor left out is noticed."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.urls import URLPattern, reverse

from bench.pages_world import World
from bench.scenario import BenchError
from dashboard.queries.history import RANGES
from dashboard.queries.lanes import SORTS as QUEUE_SORTS
from dashboard.queries.lanes import STATES as QUEUE_STATES
from dashboard.queries.tenants import SORTS as TENANT_SORTS
from dashboard.queries.tenants import STATES as TENANT_STATES
from dashboard.urls import urlpatterns as dashboard_routes
from jobs.api.urls import urlpatterns as api_routes
from jobs.api.urls import version_1
from jobs.instants import instant
from jobs.lookup import in_status
from jobs.models import AuditEntry, Job, Tenant
from jobs.statuses import Status
from jobs.uuid7 import first_id

Queries = tuple[str, ...]
"""Parameters of an address, each as they stand behind the question mark."""


def _filters(*texts: str) -> Queries:
    return tuple(urlencode({"filter": text}) for text in texts)


_EACH_STATUS = [f"status:{status}" for status in Status]
_SEARCHES = _filters(
    *_EACH_STATUS,
    *("queue:mail", "task:mail.send", "tag:vip", "tag:vip status:DONE", "-status:DONE"),
    *("queue:unknown", "task:unknown", "tag:unknown", "status:DLQ task:unknown"),
    *("error:quota", "error:nosuch", "error_type:ErrorQ", "status:DLQ error:nosuch"),
    *("created:<2d", "created:>20d", "created:>20d queue:mail", "created:>20d error:nosuch"),
    *("key:order-17", "worker:worker-3", "invoice", "status:PENDING queue:mail", "attempt:>0"),
)
DASHBOARD: Mapping[str, Queries] = {
    "overview": tuple(f"range={name}" for name in RANGES),
    "jobs": ("", *_SEARCHES),
    "dead": ("",),
    "operations": ("",),
    "filter-values": ("word=queue&start=m", "word=tag&start=v", "word=task&start="),
    "submit": ("",),
    "queues": (
        *("", "name=mail"),
        *(f"state={state.replace(' ', '+')}" for state in QUEUE_STATES),
        *(f"sort={sort}" for sort in QUEUE_SORTS),
    ),
    "tenants": (
        *("", "name=1"),
        *(f"state={state}" for state in TENANT_STATES),
        *(f"sort={sort}" for sort in TENANT_SORTS),
    ),
    "workers": ("",),
    "keys": ("", "state=all"),
    "new-key": ("",),
    "audit": ("", "who=operator", "who=nobody", "action=redrive"),
    "settings": ("",),
    "find": ("q=mail", "q=tenant-1"),
}
OPERATIONS = tuple(
    f"action={action}&{query}"
    for action, query in zip(
        ("cancel", "redrive", "redrive"),
        _filters("queue:mail", "status:DLQ", "error:nosuch"),
        strict=True,
    )
)
OF_TENANT: Mapping[str, Queries] = {"tenant": ("",), "tenant-limits": ("",)}
OF_QUEUE = ("pause-queue", "resume-queue", "queue-limits")
API: Mapping[str, Queries] = {
    "api-jobs": ("", *_SEARCHES, "queue=mail", "tag=vip", "status=FAILED"),
    "api-dlq": ("", "queue=mail", *_filters("error:nosuch", "error_type:ErrorQ")),
    "api-operations": ("",),
    "api-queues": ("",),
    "api-keys": ("",),
    "api-usage": ("", "step=minute", "step=hour", "step=day", "step=day&queue=mail"),
    "api-audit": ("",),
    "api-tenant": ("",),
    "api-task-limits": ("",),
    "api-figures": ("",),
}
OF_JOB = {"dashboard": ("job",), "api": ("api-job", "api-why", "api-logs")}
ADMIN: Mapping[str, Queries] = {
    "jobs_job": (
        *(f"status={status}" for status in Status),
        *("tenant=tenant-001", "status=PENDING&tenant=tenant-001", "q=mail", "q=nosuch", "q=vip"),
        *("q=nosuch&status=PENDING", "q=nosuch&status=DLQ", "q=tenant-001"),
    ),
    "jobs_deadletter": (
        *("tenant=tenant-001", "queue=mail", "task=mail.send", "error=ErrorQ", "q=vip", "q=quota"),
        *("q=nosuch", "reason=poison", "tenant=tenant-001&error=ErrorQ"),
    ),
    "jobs_tenant": ("q=tenant-1",),
    "jobs_lane": ("tenant=tenant-001", "q=mail"),
    "jobs_auditentry": ("action=cancel", "tenant=tenant-001", "q=job-17"),
}
"""Of the lists of the admin, what is asked besides the list itself, which all are."""
DEEP = 100
"""People seldom turn over more pages of a list of the admin."""

NOT_MEASURED = {
    *("login", "logout", "favicon", "stored-json", "log-text"),
    *("operation", "act-on-chosen", "act-on-job", "cancel-operation", "save-view", "delete-view"),
    *("ask-worker", "rotate-key", "revoke-key", "member", "remove-member", "set-suspended"),
    *("api-bulk", "api-export", "export-jobs", "api-cancel", "api-retry", "api-dead-letter"),
    "api-redrive",
    *("api-operation", "api-cancel-operation", "api-queue", "api-pause", "api-resume", "api-key"),
    *("api-rotate-key", "api-task-limit", "api-lease", "api-heartbeat", "api-ack", "api-fail"),
    *("api-log", "api-release", "schema", "api-docs", "api-unknown", "health-live"),
    *("health-ready", "metrics", "start-operation"),
}
"""What only acts, is about one row that is found by its key, needs no database, or is below."""


class Page(NamedTuple):
    """An address, and whose: a person of the world, a key, or nobody's."""

    who: str
    address: str


def refuse_unknown_routes() -> None:
    """Raise `BenchError` for a route that is neither measured nor left out."""
    routes = [*dashboard_routes, *version_1, *api_routes]
    names = {route.name for route in routes if isinstance(route, URLPattern)}
    jobs_own = {name for several in OF_JOB.values() for name in several}
    measured = {*DASHBOARD, *OF_TENANT, *OF_QUEUE, *API, *jobs_own}
    if unknown := names - measured - NOT_MEASURED - {None}:
        raise BenchError(f"Say in bench/pages_list.py how these are measured: {unknown}.")


def pages(world: World) -> Iterator[Page]:
    """All that is measured, by who looks at it."""
    for who in world.people:
        yield from _of_dashboard(who, world)
    yield from (Page("operator", address) for address in _of_admin())
    yield from (Page("key", address) for address in _of_api(world))
    yield Page("nobody", reverse("metrics"))


def first_pages(world: World) -> Iterator[Page]:
    """Those that somebody may open first in the morning."""
    for who in world.people:
        for name in ("overview", "jobs", "dead", "queues", "tenants", "audit"):
            yield Page(who, reverse(name))
        yield from (Page(who, f"{reverse('overview')}?range={span}") for span in RANGES)
    yield Page("operator", reverse("admin:jobs_deadletter_changelist"))
    yield Page("operator", reverse("admin:jobs_job_changelist"))
    yield Page("nobody", reverse("metrics"))


def _of_dashboard(who: str, world: World) -> Iterator[Page]:
    is_operator = who == "operator"
    for query in OPERATIONS if is_operator else ():
        yield Page(who, _address("start-operation", query=query))
    for name, queries in DASHBOARD.items():
        if is_operator or name != "workers":
            yield from (Page(who, _address(name, query=query)) for query in queries)
    own = [world.largest, world.tenants[2]] if who != "member" else [world.largest]
    for tenant in own:
        for name, queries in OF_TENANT.items():
            yield from (Page(who, _address(name, tenant.slug, query=query)) for query in queries)
        for name in ("overview", "jobs", "dead", "queues"):
            yield Page(who, _address(name, query=f"tenant={tenant.slug}"))
        for query in OPERATIONS:
            asked = f"{query}&tenant={tenant.slug}"
            yield Page(who, _address("start-operation", query=asked))
        yield from (Page(who, _address(name, tenant.slug, "mail")) for name in OF_QUEUE)
    for job in _some_jobs(world.largest):
        yield from (Page(who, _address(name, str(job.pk))) for name in OF_JOB["dashboard"])
    for place in ("before", "after"):
        yield Page(who, _address("jobs", query=f"{place}={_middle(world.largest).pk}"))


def _of_api(world: World) -> Iterator[str]:
    for name, queries in API.items():
        yield from (_address(name, query=query) for query in queries)
    for job in _some_jobs(world.largest):
        yield from (_address(name, str(job.pk)) for name in OF_JOB["api"])
    middle = instant(_middle(world.largest).created_at)
    yield _address("api-jobs", query=urlencode({"created_before": middle}))


def _of_admin() -> Iterator[str]:
    yield reverse("admin:index")
    for model, listed in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        there = model._default_manager.order_by()[: DEEP * listed.list_per_page].count()
        deep = f"p={max(1, there // listed.list_per_page)}"
        for query in ("", deep, *ADMIN.get(name, ())):
            yield _address(f"admin:{name}_changelist", query=query)
        if row := model._default_manager.order_by("-pk").first():
            yield reverse(f"admin:{name}_change", args=[row.pk])
    oldest = AuditEntry.objects.order_by("pk").first()
    if oldest:
        yield reverse("admin:jobs_auditentry_change", args=[oldest.pk])


def _address(name: str, *args: str, query: str = "") -> str:
    return f"{reverse(name, args=args)}{'?' * bool(query)}{query}"


def _some_jobs(tenant: Tenant) -> Iterator[Job]:
    """The newest of each status."""
    for status in Status:
        job = in_status(Job.objects.filter(tenant=tenant), status).order_by("-pk").first()
        if job:
            yield job


def _middle(tenant: Tenant) -> Job:
    """A job of the middle of the month."""
    own = Job.objects.filter(tenant=tenant)
    newest, oldest = own.order_by("-pk")[0], own.order_by("pk")[0]
    middle = oldest.created_at + (newest.created_at - oldest.created_at) / 2
    return own.filter(pk__gte=first_id(middle.timestamp())).order_by("pk")[0]
