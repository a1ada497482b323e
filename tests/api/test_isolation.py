"""A stranger's id is answered as one that does not exist, on every route. Rows 82 to 86.

What is tried is made from the addresses of the API: every route with something in its address, each
of its methods, and each kind of id that a tenant has. A route whose address has a part that is not
known here fails, and so does one without any that is in neither table.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from django.forms.models import model_to_dict
from django.urls import URLPattern, URLResolver, reverse

from jobqueue_project.urls import api as urlpatterns
from jobs import operations, services
from jobs.addresses import NAMES
from jobs.keys import create_api_key
from jobs.models import ApiKey, AuditEntry, Job, Lane, Operation, TaskLimit, Tenant
from jobs.statuses import BulkAction, Status
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
    # See test_leases.py.
    *("api-lease", "api-heartbeat", "api-ack", "api-fail", "api-log", "api-release"),
}
PUBLIC = {"schema", "api-docs", "api-unknown", "health-live", "health-ready", "metrics"}
PARTS = {"job_id", "operation_id", "key_id", "queue", "task"}
"""What stands in addresses."""
BODIES: Mapping[tuple[str, str], Any] = {
    ("api-queue", "PATCH"): {"max_running": 1},
    ("api-task-limit", "PUT"): {"max_running": 1},
}
MAKES_ITS_OWN = {("api-task-limit", "PUT")}
"""Calls that make what they name: a stranger's is not theirs, and no obstacle."""


class Route(NamedTuple):
    """A method of an address with something in it."""

    name: str
    method: str
    part: str


def routes(patterns: list[Any] = urlpatterns) -> Iterator[URLPattern]:
    """The routes of the API."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield pattern


def by_id() -> list[Route]:
    """What can be called with an id, whatever it is of."""
    return [
        Route(str(one.name), method, part)
        for one in routes()
        for part in one.pattern.converters
        for method in one.callback.cls.scopes
    ]


def test_every_route_is_known() -> None:
    without_ids = {str(one.name) for one in routes() if not one.pattern.converters}
    assert without_ids == OWN_ONLY | PUBLIC
    assert {route.part for route in by_id()} == PARTS


def test_every_method_of_a_view_says_what_it_needs() -> None:
    for one in routes():
        view = one.callback.cls
        methods = {name.upper() for name in view.http_method_names if hasattr(view, name)}
        assert one.name in PUBLIC or methods - {"HEAD"} == set(view.scopes), one.name


class Ids(NamedTuple):
    """An id of Alice's, where it belongs in an address, and one as long that nobody has."""

    part: str
    hers: str
    nobodys: str


@pytest.fixture
def ids(alice: Tenant) -> list[Ids]:
    """One of each kind that there is."""
    operation = operations.start(alice, BulkAction.CANCEL, "queue:none", actor="command:test")
    services.set_task_limit(alice, "remote:hers", actor="command:test", max_running=3)
    nobodys = str(uuid.uuid4())
    jobs = [make_job(alice, one, queue="hers") for one in (Status.DLQ, Status.FAILED)]
    return [
        *(Ids("job_id", str(job.pk), nobodys) for job in (*jobs, make_job(alice, queue="hers"))),
        Ids("operation_id", str(operation.pk), nobodys),
        Ids("key_id", create_api_key(alice, actor="command:test")[0].prefix, "abcd1234"),
        Ids("queue", "hers", "none"),
        Ids("task", "remote:hers", "remote:none"),
    ]


def belongings(tenant: Tenant) -> list[Any]:
    """All that a tenant has."""
    kinds = (Job, Lane, Operation, TaskLimit, ApiKey)
    rows = [kind.objects.filter(tenant=tenant).order_by("pk") for kind in kinds]
    kept = [[*map(model_to_dict, some)] for some in rows[:-1]]
    return [model_to_dict(tenant), *kept, list(rows[-1].values_list("pk", "revoked_at"))]


def answer_to(caller: Caller, route: Route, value: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, without the id itself."""
    address = reverse(route.name, kwargs={route.part: value})
    body = BODIES.get((route.name, route.method))
    answer = caller.call(route.method, address, body, headers={"X-Request-Id": "same"})
    told = answer.content.replace(quote(value).encode(), b"?").replace(value.encode(), b"?")
    return answer.status_code, told, dict(answer.headers)


@pytest.mark.parametrize("route", by_id(), ids=" ".join)
def test_a_strangers_id_is_answered_as_one_that_nobody_has(
    alice: Tenant, stranger: Caller, ids: list[Ids], route: Route
) -> None:
    before = belongings(alice)
    expected = 200 if route[:2] in MAKES_ITS_OWN else 404
    for _, hers, nobodys in ids:
        answer = answer_to(stranger, route, hers)
        assert answer[0] == expected, (hers, answer)
        assert answer == answer_to(stranger, route, nobodys), hers
    assert belongings(alice) == before


def test_whose_they_are_finds_them(api: Caller, ids: list[Ids]) -> None:
    looks = [one for one in by_id() if one.method == "GET"]
    assert {one.part for one in looks} == PARTS
    for route in looks:
        own = [one.hers for one in ids if one.part == route.part]
        assert own
        assert {answer_to(api, route, one)[0] for one in own} == {200}, route


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
@pytest.mark.parametrize(
    "route", [one for one in by_id() if one.part in PARTS - NAMES], ids=" ".join
)
def test_a_malformed_id_is_absent(api: Caller, route: Route, malformed: str) -> None:
    address = reverse(route.name, kwargs={route.part: "ID"}).replace("ID", malformed)
    problem(api.call(route.method, address), 404, "not_found")
