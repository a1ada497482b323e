"""A stranger's id is answered as one that does not exist, on every route. Rows 82 to 86.

The table below is compared with the addresses of the API: a route that is not in it fails.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver

from jobqueue_project.urls import api as urlpatterns
from jobs.keys import create_api_key
from jobs.models import AuditEntry, Job, Lane, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db

OWN_ONLY = {
    "api-jobs",
    "api-bulk",
    "api-export",
    "api-dlq",
    "api-redrive",
    "api-queues",
    "api-figures",
    "api-keys",
    "api-events",
    "api-usage",
    "api-audit",
    "api-operations",
    "api-tenant",
    "api-task-limits",
    "api-task-limit",
    # See test_leases.py.
    *("api-lease", "api-heartbeat", "api-ack", "api-fail", "api-log", "api-release"),
}
PUBLIC = {"schema", "api-docs", "api-unknown", "health-live", "health-ready", "metrics"}
BY_ID: dict[str, tuple[str, str]] = {
    "api-job": ("GET", "/jobs/{}"),
    "api-why": ("GET", "/jobs/{}/why"),
    "api-logs": ("GET", "/jobs/{}/logs"),
    "api-cancel": ("POST", "/jobs/{}/cancel"),
    "api-retry": ("POST", "/jobs/{}/retry"),
    "api-dead-letter": ("DELETE", "/dlq/{}"),
    "api-operation": ("GET", "/operations/{}"),
    "api-cancel-operation": ("POST", "/operations/{}/cancel"),
}
BY_KEY: dict[str, tuple[str, str]] = {
    "api-key": ("DELETE", "/keys/{}"),
    "api-rotate-key": ("POST", "/keys/{}/rotate"),
}
BY_QUEUE: dict[str, tuple[str, str]] = {
    "api-queue": ("GET", "/queues/{}"),
    "api-pause": ("POST", "/queues/{}/pause"),
    "api-resume": ("POST", "/queues/{}/resume"),
}


def routes(patterns: list[Any] = urlpatterns) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield str(pattern.name)


def test_every_route_is_in_the_table() -> None:
    assert set(routes()) == OWN_ONLY | PUBLIC | set(BY_ID) | set(BY_QUEUE) | set(BY_KEY)


def without_names(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in {"request_id", "instance"}}


@pytest.mark.parametrize("route", BY_ID)
@pytest.mark.parametrize("status", [Status.PENDING, Status.DLQ])
def test_a_strangers_job_is_as_absent_as_a_random_one(
    alice: Tenant, stranger: Caller, route: str, status: Status
) -> None:
    job = make_job(alice, status)
    before = Job.objects.values().get()
    method, path = BY_ID[route]
    foreign = problem(stranger.call(method, f"/api/v1{path.format(job.pk)}"), 404, "not_found")
    random = problem(stranger.call(method, f"/api/v1{path.format(uuid.uuid4())}"), 404, "not_found")
    assert without_names(foreign) == without_names(random)
    assert Job.objects.values().get() == before


@pytest.mark.parametrize("route", BY_QUEUE)
def test_a_strangers_queue_is_as_absent_as_a_random_one(
    api: Caller, alice: Tenant, stranger: Caller, route: str
) -> None:
    api.submit(queue="theirs")
    method, path = BY_QUEUE[route]
    foreign = problem(stranger.call(method, f"/api/v1{path.format('theirs')}"), 404, "not_found")
    random = problem(stranger.call(method, f"/api/v1{path.format('random')}"), 404, "not_found")
    assert foreign["detail"].replace("theirs", "random") == random["detail"]
    assert not Lane.objects.get(queue="theirs").is_paused


@pytest.mark.parametrize("route", BY_KEY)
def test_a_strangers_key_is_as_absent_as_a_random_one(
    alice: Tenant, stranger: Caller, route: str
) -> None:
    key, text = create_api_key(alice, actor="command:test")
    method, path = BY_KEY[route]
    foreign = problem(stranger.call(method, path.format(key.prefix), {}), 404, "not_found")
    random = problem(stranger.call(method, path.format("abcd1234"), {}), 404, "not_found")
    assert without_names(foreign) == without_names(random)
    assert Caller(text).get("/queues").status_code == 200


def test_lists_and_figures_hold_nothing_of_a_stranger(alice: Tenant, stranger: Caller) -> None:
    for status in (Status.DLQ, Status.DONE, Status.RUNNING, Status.PENDING):
        make_job(alice, status, queue=f"q-{status}", tags=("t",))
    for path in ("/jobs", "/jobs?tag=t", "/jobs?status=DLQ", "/dlq", "/queues"):
        assert stranger.get(path).json() == {"results": [], "next": None}, path
    figures = stranger.get("/metrics").json()
    assert set(figures["counts"].values()) == {0}
    assert figures["throughput"] == []


def test_a_redrive_passes_by_a_strangers_dead_letters(alice: Tenant, stranger: Caller) -> None:
    job = make_job(alice, Status.DLQ)
    foreign = stranger.post("/dlq/redrive", {"ids": [str(job.pk)]})
    random = stranger.post("/dlq/redrive", {"ids": [str(uuid.uuid4())]})
    assert foreign.json() == random.json() == {"count": 0, "ids": [], "more": False}
    assert stranger.post("/dlq/redrive", {"queue": "default"}).json()["count"] == 0
    job.refresh_from_db()
    assert job.status == Status.DLQ
    assert not AuditEntry.objects.filter(action="redrive").exists()


def test_headers_do_not_change_whose_jobs_are_seen(alice: Tenant, stranger: Caller) -> None:
    make_job(alice)
    headers = {"X-Tenant": "alice", "X-Original-URL": "/admin/", "X-HTTP-Method-Override": "DELETE"}
    assert stranger.get("/jobs", headers=headers).json()["results"] == []


MALFORMED_IDS = ["-1", str(2**63), "1%00", "%ff", "1;drop", "..%2f1", "%0a", "null", "a" * 5_000]


@pytest.mark.parametrize("malformed", MALFORMED_IDS, ids=range(len(MALFORMED_IDS)))
@pytest.mark.parametrize("route", BY_ID)
def test_a_malformed_id_is_absent(api: Caller, route: str, malformed: str) -> None:
    method, path = BY_ID[route]
    problem(api.call(method, f"/api/v1{path.format(malformed)}"), 404, "not_found")
