"""A caller with a key, as a program would be."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from django.apps import apps
from django.test import Client

from jobs.keys import create_api_key
from jobs.models import Tenant

PROBLEM = "application/problem+json"


class Caller:
    """Calls the API with one key and reads JSON."""

    def __init__(self, key: str | None) -> None:
        self.client = Client(raise_request_exception=True)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call and answer Django's response; `body` is sent as JSON, `raw` as it is."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        where = path if path.startswith(("/api/", "/health/")) else f"/api/v1{path}"
        given = {**self.headers, **(headers or {})}
        return self.client.generic(method, where, data, content_type=content_type, headers=given)

    def get(self, path: str, **options: Any) -> Any:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """POST."""
        return self.call("POST", path, body, **options)

    def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit a job that must be accepted; answers it."""
        response = self.post("/jobs", fields)
        assert response.status_code == 201, response.content
        job: dict[str, Any] = response.json()
        return job


@pytest.fixture
def caller_of() -> Callable[..., Caller]:
    """Makes a caller with a new key of the tenant; all scopes unless told."""

    def make(tenant: Tenant, *scopes: str) -> Caller:
        options = {"scopes": scopes} if scopes else {}
        return Caller(create_api_key(tenant, actor="command:test", **options)[1])

    return make


@pytest.fixture
def api(alice: Tenant, caller_of: Callable[..., Caller]) -> Caller:
    """Alice calls."""
    return caller_of(alice)


@pytest.fixture
def stranger(mallory: Tenant, caller_of: Callable[..., Caller]) -> Caller:
    """Mallory calls."""
    return caller_of(mallory)


@pytest.fixture
def nobody(db: None) -> Caller:
    """A caller without a key."""
    return Caller(None)


@pytest.fixture
def nothing_lost(api: Caller, stranger: Caller) -> Iterator[None]:
    """Whatever the test sends, it changes nothing: no row more or less, and both tenants go on.

    A job of each is listed, opened, leased and finished afterwards, its payload as it was sent.
    """
    callers = (api, stranger)
    kept = [
        caller.submit(task="remote:kept", payload={"of": n}) for n, caller in enumerate(callers)
    ]
    before = _rows()
    yield
    assert _rows() == before
    for caller, job in zip(callers, kept, strict=True):
        assert [one["id"] for one in caller.get("/jobs").json()["results"]] == [job["id"]]
        assert caller.get(f"/jobs/{job['id']}").json() == {**job, "attempts": []}
        (leased,) = caller.post("/leases", {"max_jobs": 100}).json()["jobs"]
        assert (leased["id"], leased["payload"]) == (job["id"], job["payload"])
        done = {"job_id": job["id"], "fence": leased["fence"], "result": {"done": [1.10]}}
        assert caller.post("/leases/ack", {"leases": [done]}).json()["results"][0]["ok"]
        assert caller.get(f"/jobs/{job['id']}").json()["status"] == "DONE"


def _rows() -> dict[str, int]:
    """How many rows each table of the project has."""
    return {
        model.__name__: model.objects.count() for model in apps.get_app_config("jobs").get_models()
    }


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The problem that the response must be."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["request_id"] == response["X-Request-Id"]
    assert len(response.content) <= 4_096
    return body
