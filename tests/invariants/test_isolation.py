"""S20: nobody sees or changes anything of another tenant's, at any address that there is.

All that Alice has says `canary`. Every address of the project is called as Mallory, with Alice's
ids where it takes one. An address that is not in the table below fails the test.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from jobs.keys import create_api_key
from jobs.models import AuditEntry, Job, Lane, Role, Tenant
from jobs.statuses import Status
from tests.factories import make_job

pytestmark = pytest.mark.django_db

CANARY = "canary"
QUEUE = "orders"
API = {
    "api-jobs": ["/jobs", "/jobs?tag=canary", "/jobs?status=DLQ", "/jobs?task=canary.task"],
    "api-bulk": ["/jobs/bulk"],
    "api-job": ["/jobs/{id}"],
    "api-cancel": ["/jobs/{id}/cancel"],
    "api-retry": ["/jobs/{id}/retry"],
    "api-why": ["/jobs/{id}/why"],
    "api-dlq": ["/dlq", "/dlq?queue=orders"],
    "api-redrive": ["/dlq/redrive"],
    "api-dead-letter": ["/dlq/{id}"],
    "api-queues": ["/queues"],
    "api-pause": ["/queues/orders/pause"],
    "api-resume": ["/queues/orders/resume"],
    "api-figures": ["/metrics"],
    "api-export": ["/jobs/export?filter=queue:orders&format=csv", "/jobs/export?format=jsonl"],
    "api-logs": ["/jobs/{id}/logs"],
    "api-log": ["/leases/logs"],
    "api-operations": ["/operations"],
    "api-operation": ["/operations/{id}"],
    "api-cancel-operation": ["/operations/{id}/cancel"],
    "api-queue": ["/queues/orders"],
    "api-keys": ["/keys"],
    "api-key": ["/keys/{id}"],
    "api-rotate-key": ["/keys/{id}/rotate"],
    "api-lease": ["/leases"],
    "api-heartbeat": ["/leases/heartbeat"],
    "api-ack": ["/leases/ack"],
    "api-fail": ["/leases/fail"],
    "api-release": ["/leases/release"],
    "api-usage": ["/usage"],
    "api-audit": ["/audit"],
    "api-events": ["/events"],
    "api-tenant": ["/tenant"],
    "api-task-limits": ["/task-limits"],
    "api-task-limit": ["/task-limits/canary.task"],
}
PAGES = {
    "overview": ["/", "/?tenant=alice"],
    "jobs": ["/jobs/", "/jobs/?tenant=alice", "/jobs/?filter=queue:orders"],
    "export-jobs": ["/jobs/export", "/jobs/export?tenant=alice"],
    "submit": ["/jobs/new"],
    "job": ["/jobs/{id}/"],
    "stored-json": ["/jobs/{id}/payload.json", "/jobs/{id}/result.json"],
    "act-on-job": [f"/jobs/{{id}}/{act}" for act in ("cancel", "retry", "redrive", "discard")],
    "log-text": ["/jobs/{id}/log/1"],
    "act-on-chosen": ["/jobs/chosen", "/jobs/chosen?tenant=alice"],
    "filter-values": ["/jobs/values?word=queue&start=ord", "/jobs/values?word=tag&start=can"],
    "save-view": ["/jobs/views", "/jobs/views?tenant=alice"],
    "delete-view": ["/jobs/views/1/delete"],
    "find": ["/find?q=orders", "/find?q=alice"],
    "keys": ["/keys/", "/keys/?tenant=alice"],
    "new-key": ["/keys/new", "/keys/new?tenant=alice"],
    "rotate-key": ["/keys/00000000/rotate"],
    "revoke-key": ["/keys/00000000/revoke"],
    "audit": ["/audit/", "/audit/?tenant=alice"],
    "settings": ["/settings/"],
    "dead": ["/dead/", "/dead/?tenant=alice"],
    "operations": ["/operations/", "/operations/?tenant=alice"],
    "start-operation": ["/operations/new?action=cancel&filter=queue:orders"],
    "operation": ["/operations/{id}/"],
    "cancel-operation": ["/operations/{id}/cancel"],
    "queues": ["/queues/", "/queues/?tenant=alice", "/queues/?name=orders"],
    "pause-queue": ["/queues/alice/orders/pause"],
    "resume-queue": ["/queues/alice/orders/resume"],
    "queue-limits": ["/queues/alice/orders/limits"],
    "tenants": ["/tenants/", "/tenants/?tenant=alice", "/tenants/?name=alice"],
    "tenant": ["/tenants/alice/"],
    "tenant-limits": ["/tenants/alice/limits"],
    "set-suspended": ["/tenants/alice/suspend", "/tenants/alice/resume"],
    "member": ["/tenants/alice/members/1"],
    "remove-member": ["/tenants/alice/members/1/remove"],
    "workers": ["/workers/"],
    "ask-worker": ["/workers/w/quiet", "/workers/w/stop", "/workers/w/resume"],
}
OF_NOBODY = {"schema", "api-docs", "api-unknown", "health-live", "health-ready", "favicon"}
OF_NOBODY |= {"login", "logout"}
OF_OPERATORS = {"metrics"}
"""For monitoring, to be kept inside: it names every tenant. So does the admin."""


def addresses(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            yield str(pattern.name)
        elif isinstance(pattern, URLResolver) and pattern.app_name != "admin":
            yield from addresses(pattern.url_patterns)


def test_S20_every_address_is_in_the_table() -> None:
    known = {*API, *PAGES, *OF_NOBODY, *OF_OPERATORS}
    assert set(addresses(get_resolver().url_patterns)) == known


@pytest.fixture
def jobs(alice: Tenant) -> list[Job]:
    """Alice's: one in each status, with the canary wherever a caller or a task can write."""
    words = dict.fromkeys(("error_type", "error_message", "traceback"), CANARY)
    endings = {Status.DONE: {"result": b'"canary"'}, Status.DLQ: words, Status.FAILED: words}
    new: dict[str, Any] = {"payload": b'"canary"', "tags": (CANARY,), "task": "canary.task"}
    statuses = [Status.SCHEDULED, *endings, Status.RUNNING, Status.CANCELLED, Status.PENDING]
    return [
        make_job(alice, status, queue=QUEUE, idempotency_key=f"canary {status}")
        if status is Status.CANCELLED
        else make_job(alice, status, queue=QUEUE, **new, **endings.get(status, {}))
        for status in statuses
    ]


@pytest.fixture
def mallory_calls(mallory: Tenant) -> Callable[[str, str], Iterator[Any]]:
    """Calls an address by a method, with Mallory's key or from the browser of Mallory's member."""
    key = create_api_key(mallory, actor="command:test")[1]
    browser = Client()
    browser.force_login(User.objects.create_user("max", password="a secret"))
    every_right = {"role": Role.ADMIN, "sees_payloads": True}
    User.objects.get().tenants.set([mallory], through_defaults=every_right)
    headers = {"Authorization": f"Bearer {key}"}

    def call(method: str, path: str) -> Iterator[Any]:
        if path.startswith("/api/"):
            body = body_for(path.removeprefix("/api/v1")) if method == "POST" else ""
            options = {"content_type": "application/json"} if body else {}
            yield Client().generic(method, path, body, headers=headers, **options)
        else:
            data = {"tenant": "alice", "queue": QUEUE, "task": "echo", "payload": "1"}
            data |= {"format": "csv"}
            yield browser.post(path, data) if method == "POST" else browser.get(path)

    return call


def body_for(path: str) -> str:
    """What does the most at that address, were it Alice who sent it."""
    leases = [{"job_id": str(x.pk), "fence": x.fence} for x in Job.objects.all() if x.worker]
    if path.startswith("/leases/"):
        return json.dumps({"leases": leases})
    if path.endswith("/rotate"):
        return "{}"
    bodies: dict[str, Any] = {
        "/leases": {"queues": [QUEUE], "max_jobs": 9, "lease_seconds": 30},
        "/operations": {"action": "cancel", "filter": f"queue:{QUEUE}"},
        "/jobs": {"queue": QUEUE},
        "/jobs/bulk": {"jobs": [{"queue": QUEUE}]},
        "/dlq/redrive": {"queue": QUEUE},
        "/keys": {"name": "mine"},
    }
    return json.dumps(bodies[path]) if path in bodies else ""


def paths(job: Job) -> Iterator[str]:
    for prefix, table in (("/api/v1", API), ("", PAGES)):
        for forms in table.values():
            yield from (prefix + form.format(id=job.pk) for form in forms)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_S20_no_address_shows_or_changes_what_is_another_tenants(
    alice: Tenant, jobs: list[Job], mallory_calls: Callable[[str, str], Iterator[Any]], method: str
) -> None:
    before = list(Job.objects.filter(tenant=alice).order_by("pk").values())
    asked = {path for job in jobs for path in paths(job)}
    for path in sorted(asked):
        for response in mallory_calls(method, path):
            content = response.getvalue() + repr(dict(response.headers)).encode()
            shown = content.replace(b"tag=canary", b"").replace(b'value="canary"', b"")
            shown = shown.replace(b"task-limits/canary.task", b"")
            assert response.status_code < 500, path
            assert CANARY.encode() not in shown, f"{method} {path}"
            assert not any(
                str(job.pk).encode() in shown
                for job in jobs
                if str(job.pk) not in path and "/leases/" not in path  # those repeat what was sent
            ), f"{method} {path}"
            if any(str(job.pk) in path for job in jobs):
                assert response.status_code in {404, 405}, f"{method} {path}"
    assert list(Job.objects.filter(tenant=alice).order_by("pk").values()) == before
    assert not Lane.objects.get(tenant=alice).is_paused
    assert not AuditEntry.objects.filter(tenant=alice).exclude(actor="command:test").exists()
