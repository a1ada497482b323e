"""Every error is a problem; every answer is as the OpenAPI description says."""

import json
import re
import uuid
from typing import Any

import pytest
from django.db import OperationalError
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from jobs import services
from jobs.api import docs_views
from jobs.models import Tenant
from jobs.statuses import Status
from tests.api.conftest import PROBLEM, Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    description: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return json.loads(json.dumps(description))


def test_an_unknown_address_of_the_api_is_a_problem(nobody: Caller) -> None:
    for path in (
        "/api/",
        "/api",
        "/api/docs",
        "/api/v1",
        "/api/v1/",
        "/api/v2/jobs",
        "/api/v1/jobs/",
        "/api/v1/nope",
    ):
        for method in ("GET", "POST", "OPTIONS", "PURGE"):
            problem(nobody.call(method, path), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"])
def test_a_method_that_a_route_lacks_is_a_problem(api: Caller, method: str) -> None:
    response = api.call(method, "/jobs")
    problem(response, 405, "method_not_allowed")
    assert response["Allow"] == "GET, HEAD, POST"


def test_a_method_that_a_route_lacks_is_refused_before_anything_else(api: Caller) -> None:
    a_job = f"/jobs/{uuid.uuid4()}"
    for path in ("/usage?step=minute", f"{a_job}/logs?after=0-0&x=1", "/queues?x=1", "/events?x=1"):
        problem(api.post(path, {"x": 1}), 405, "method_not_allowed")
    problem(api.call("DELETE", "/queues/no name?x=1"), 405, "method_not_allowed")
    problem(api.get("/leases?x=1"), 405, "method_not_allowed")


def test_head_is_get_without_the_body(api: Caller) -> None:
    response = api.call("HEAD", "/jobs")
    assert (response.status_code, response.content) == (200, b"")


def test_a_forged_host_is_a_problem(api: Caller) -> None:
    response = api.get("/jobs", headers={"Host": "evil.example"})
    assert problem(response, 400, "invalid_input")["instance"] == "/api/v1/jobs"


def test_a_method_cannot_be_overridden(api: Caller) -> None:
    response = api.post("/jobs", {}, headers={"X-HTTP-Method-Override": "GET"})
    assert response.status_code == 201


def test_an_answer_that_cannot_be_given_is_a_problem(api: Caller) -> None:
    refused = problem(api.get("/jobs", headers={"Accept": "text/html"}), 406, "not_acceptable")
    assert "application/json" in refused["detail"]
    assert api.get("/jobs", headers={"Accept": "application/problem+json"}).status_code == 200


def test_a_body_of_another_type_is_told_what_to_send(api: Caller) -> None:
    answer = api.post("/jobs", raw=b"a=1", content_type="application/x-www-form-urlencoded")
    assert "Send application/json" in problem(answer, 415, "unsupported_media_type")["detail"]


def test_a_host_that_is_not_allowed_is_told(api: Caller) -> None:
    answer = api.get("/nothing", headers={"Host": "elsewhere.example"})
    assert "host is not allowed" in problem(answer, 400, "invalid_input")["detail"]


def test_a_request_keeps_its_own_id(api: Caller) -> None:
    given = api.get("/nope", headers={"X-Request-Id": "abc-1.2_3"})
    assert given["X-Request-Id"] == given.json()["request_id"] == "abc-1.2_3"


@pytest.mark.parametrize("hostile", ["a b", "x" * 65, "a\tb", "é", ""])
def test_an_id_that_could_do_harm_is_replaced(api: Caller, hostile: str) -> None:
    response = api.get("/jobs", headers={"X-Request-Id": hostile})
    assert re.fullmatch(r"req_[0-9a-f]{32}", response["X-Request-Id"])


def test_answers_are_kept_by_no_cache(api: Caller, nobody: Caller) -> None:
    for response in (api.get("/jobs"), nobody.get("/jobs"), nobody.get("/health/live")):
        assert response["Cache-Control"] == "no-store"


def test_a_failure_of_ours_is_a_problem_and_is_logged(
    api: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(services, "submit", fail)
    api.client.raise_request_exception = False
    response = api.post("/jobs", {})
    answer = problem(response, 500, "internal_error")
    assert "secret" not in json.dumps(answer)
    record = next(r for r in caplog.records if r.name == "jobs.api.problems")
    assert record.exc_info
    assert vars(record)["request_id"] == answer["request_id"]


def test_an_unreachable_database_asks_to_come_back(
    api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(services, "submit", fail)
    response = api.post("/jobs", {})
    problem(response, 503, "unavailable")
    assert response["Retry-After"] == "5"


def test_the_description_is_valid(schema: dict[str, Any]) -> None:
    validate_schema(schema)
    assert schema["openapi"].startswith("3.1")
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            is_public = path.startswith("/health/")
            assert (operation.get("security") == [{"key": []}]) is not is_public, path


def test_the_description_generates_without_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    SchemaGenerator().get_schema(request=None, public=True)
    assert "Warning" not in capsys.readouterr().err


def test_answers_are_as_described(api: Caller, alice: Tenant, schema: dict[str, Any]) -> None:
    dead = [make_job(alice, Status.DLQ) for _ in range(2)]
    make_job(alice, Status.DONE)
    waiting = make_job(alice)
    base = "/api/v1"
    for method, route, path, body in (
        ("post", "/jobs", "/jobs", {"payload": [1], "priority": "high"}),
        ("get", "/jobs", "/jobs?limit=1", None),
        ("post", "/jobs/bulk", "/jobs/bulk", {"jobs": [{}]}),
        ("get", "/jobs/{job_id}", f"/jobs/{dead[0].pk}", None),
        ("get", "/jobs/{job_id}/why", f"/jobs/{waiting.pk}/why", None),
        ("post", "/jobs/{job_id}/cancel", f"/jobs/{waiting.pk}/cancel", None),
        ("post", "/jobs/{job_id}/retry", f"/jobs/{waiting.pk}/retry", None),
        ("get", "/dlq", "/dlq", None),
        ("post", "/dlq/redrive", "/dlq/redrive", {"ids": [str(dead[0].pk)]}),
        ("post", "/dlq/redrive", "/dlq/redrive", {}),
        ("delete", "/dlq/{job_id}", f"/dlq/{dead[1].pk}", None),
        ("get", "/queues", "/queues", None),
        ("post", "/queues/{queue}/pause", "/queues/default/pause", None),
        ("post", "/queues/{queue}/resume", "/queues/nope/resume", None),
        ("get", "/metrics", "/metrics", None),
    ):
        operation = schema["paths"][base + route][method]
        response = api.call(method.upper(), base + path, body)
        conform(schema, operation, response)


def conform(schema: dict[str, Any], operation: dict[str, Any], response: Any) -> None:
    """The response is one that the operation describes."""
    described = operation["responses"][str(response.status_code)]
    if response.status_code == 204:
        return
    content = described["content"][response["Content-Type"]]["schema"]
    whole = {**content, "components": schema["components"]}
    Draft202012Validator(whole).validate(response.json())


def test_the_description_and_its_page_are_served(nobody: Caller) -> None:
    served = nobody.get("/api/schema/", headers={"Accept": "application/json"})
    assert served.json()["info"]["title"] == "Job queue"
    page = nobody.get("/api/docs/")
    script = nobody.get("/api/docs/?script=")
    assert (page.status_code, script.status_code) == (200, 200)
    assert script["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in script.content


def test_the_description_is_made_once(nobody: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    first = nobody.get("/api/schema/")
    assert first["Content-Type"] == "application/vnd.oai.openapi"
    monkeypatch.setattr(docs_views, "SchemaGenerator", None)
    assert nobody.get("/api/schema/").content == first.content


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/", "/api/v1/jobs/export"])
def test_what_answers_no_json_refuses_in_json(api: Caller, path: str) -> None:
    for method in ("POST", "DELETE", "OPTIONS", "TRACE"):
        refused = api.call(method, path)
        assert (refused.status_code, refused["Content-Type"]) == (405, PROBLEM)
        assert refused.json()["code"] == "method_not_allowed"


def test_the_page_runs_under_the_content_security_policy(nobody: Caller) -> None:
    page = nobody.get("/api/docs/")
    text = page.content.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert set(re.findall(r'(?:src|href)="(.)', text)) == {"/"}
    assert "unsafe" not in page["Content-Security-Policy"]
