"""The description, the routes, the errors and the documents say the same; the examples work.

All of it is found by walking: a route, a code or an example that is missing somewhere fails here.
"""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.urls import URLPattern, URLResolver
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator

from jobqueue_project.urls import api as urlpatterns
from jobs.api.error_answers import codes
from jobs.api.view import PublicView
from tests.api.conftest import PROBLEM, Caller, problem

pytestmark = pytest.mark.django_db

SELF_DESCRIPTION = {"/api/schema/", "/api/docs/"}
OF_NO_OPERATION = {"method_not_allowed"}
METHODS = {"get", "post", "put", "patch", "delete"}


class Operation(NamedTuple):
    """One call that the API describes."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def request(self) -> dict[str, Any] | None:
        """Schema and example of the body, None where there is none."""
        content: dict[str, Any] = self.described.get("requestBody", {}).get("content", {})
        return content.get("application/json")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The description as a client reads it."""
    described: dict[str, Any] = json.loads(
        json.dumps(SchemaGenerator().get_schema(request=None, public=True))
    )
    return described


def operations(schema: dict[str, Any]) -> list[Operation]:
    return [
        Operation(method, path, described)
        for path, methods in schema["paths"].items()
        for method, described in methods.items()
    ]


def routes(patterns: list[Any] = urlpatterns, prefix: str = "/") -> Iterator[tuple[str, Any]]:
    """Every address, its parameters as the description writes them, and its view's class."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
            yield prefix + address, getattr(pattern.callback, "view_class", pattern.callback.cls)


def test_every_call_that_can_be_made_is_described(schema: dict[str, Any]) -> None:
    made = {
        (method, path)
        for path, view in routes()
        if path not in SELF_DESCRIPTION and view.schema is not None
        for method in METHODS
        if method in view.http_method_names and hasattr(view, method)
    }
    assert made == {(one.method, one.path) for one in operations(schema)}


def test_only_what_is_no_json_is_left_undescribed() -> None:
    left = {path for path, view in routes() if view.schema is None}
    assert left == {"/^api(?:/|$)", "/api/schema/", "/metrics"}


def test_every_operation_says_what_it_is_for(schema: dict[str, Any]) -> None:
    for one in operations(schema):
        assert one.described["summary"], one
        assert one.described["description"], one
        assert not any(key.startswith("x-") for key in one.described), one
    names = [one.described["operationId"] for one in operations(schema)]
    assert len(set(names)) == len(names)


def explained() -> dict[str, int]:
    """The codes of docs/errors.md with their statuses: the row's own, or the first of its table."""
    found: dict[str, int] = {}
    usual = 0
    for line in (Path(settings.BASE_DIR) / "docs/errors.md").read_text().splitlines():
        if heading := re.match(r"## .*\((\d{3}|5xx)", line):
            usual = int(heading[1].replace("x", "0"))
        elif row := re.match(r"\| `(\w+)` \| (?:(\d{3})[: ])?", line):
            found[row[1]] = int(row[2] or usual)
    return found


def test_docs_explain_the_codes_that_there_are() -> None:
    assert explained() == {code: status for code, (status, _) in codes().items()}


def test_every_code_is_named_at_an_operation(schema: dict[str, Any]) -> None:
    named = {
        code
        for one in operations(schema)
        for response in one.described["responses"].values()
        for code in response.get("content", {}).get(PROBLEM, {}).get("examples", ())
    }
    assert named == codes().keys() - OF_NO_OPERATION


def test_no_other_code_stands_in_the_sources() -> None:
    root = Path(settings.BASE_DIR)
    sources = [file for app in ("jobs", "dashboard") for file in (root / app).rglob("*.py")]
    written = {code for file in sources for code in re.findall(r'\bcode="(\w+)"', file.read_text())}
    assert written <= codes().keys()


def conform(schema: dict[str, Any], shape: dict[str, Any], value: Any) -> None:
    whole = {**shape, "components": schema["components"]}
    Draft202012Validator(whole).validate(value)


def test_every_body_has_an_example_that_fits(schema: dict[str, Any]) -> None:
    for one in operations(schema):
        answers = one.described["responses"].items()
        contents = [a.get("content", {}).get("application/json") for s, a in answers if s < "3"]
        for content in filter(None, [*contents, one.request]):
            conform(schema, content["schema"], content["example"])


def test_every_error_has_an_example_that_fits(schema: dict[str, Any]) -> None:
    for one in operations(schema):
        for status, answer in one.described["responses"].items():
            if status < "4":
                continue
            content = answer["content"][PROBLEM]
            assert content["examples"], one
            for code, example in content["examples"].items():
                conform(schema, content["schema"], example["value"])
                assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
                assert f"`{code}`" in answer["description"]


def a_path(one: Operation) -> str:
    """Its address, with ids and names that nothing has."""
    path = re.sub(r"\{queue\}", "nope", one.path)
    return re.sub(r"\{\w+\}", str(uuid.uuid4()), path)


def call(caller: Caller, one: Operation) -> Any:
    """Make the call with its example."""
    path = a_path(one)
    body = one.request["example"] if one.request else None
    return caller.call(one.method.upper(), path, body)


def answers_of(response: Any, media_type: str) -> list[Any]:
    """What the schema of an answer is about: its JSON, each of its events, or its text."""
    whole: bytes = b"".join(response) if response.streaming else response.content
    if media_type == "text/event-stream":
        blocks = [dict(re.findall(r"(?m)^(\w+): (.*)$", b)) for b in whole.decode().split("\n\n")]
        return [block for block in blocks if "data" in block]
    is_json = media_type.endswith("json") and not response.streaming
    return [response.json() if is_json else whole.decode()]


def test_the_examples_are_taken_and_answered_as_described(
    api: Caller, schema: dict[str, Any]
) -> None:
    for one in operations(schema):
        response = call(api, one)
        assert response.status_code < 300 or "{" in one.path, (one.path, response.content)
        described = one.described["responses"][str(response.status_code)]
        if response.status_code != 204:
            media_type = response["Content-Type"].partition(";")[0]
            shape = described["content"][media_type]["schema"]
            for answer in answers_of(response, media_type):
                conform(schema, shape, answer)


def test_what_is_made_has_an_address(api: Caller, schema: dict[str, Any]) -> None:
    made = 0
    for one in operations(schema):
        response = call(api, one)
        headers = one.described["responses"].get(str(response.status_code), {}).get("headers", {})
        assert ("Location" in response) == ("Location" in headers), one
        if "Location" in response and response.status_code > 200:
            made += 1
            assert api.get(response["Location"]).json()["id"] == response.json()["id"]
    assert made == 3  # a job, an operation and a key


def test_a_body_is_required_where_none_is_refused(api: Caller, schema: dict[str, Any]) -> None:
    for one in operations(schema):
        answer = api.call(one.method.upper(), a_path(one))
        is_refused = answer.status_code == 400 and answer.json()["code"] == "malformed_json"
        assert is_refused == one.described.get("requestBody", {}).get("required", False), one.path


def test_a_body_is_refused_where_none_is_described(api: Caller, schema: dict[str, Any]) -> None:
    for one in operations(schema):
        is_of_key = "security" in one.described
        if one.request is None and is_of_key:
            problem(api.call(one.method.upper(), a_path(one), {"x": 1}), 400, "unknown_field")
        elif is_of_key:
            told = problem(
                api.call(one.method.upper(), a_path(one), {"x?": 1}), 400, "unknown_field"
            )
            assert known(told) == properties(schema, one.request or {}), one.path


def test_the_parameters_that_are_described_are_those_that_are_known(
    api: Caller, schema: dict[str, Any]
) -> None:
    for one in operations(schema):
        if "security" in one.described:
            body = one.request["example"] if one.request else None
            answer = api.call(one.method.upper(), f"{a_path(one)}?x?=1", body)
            given = [x for x in one.described.get("parameters", []) if x["in"] == "query"]
            told = known(problem(answer, 400, "unknown_parameter")) - {"cursor"}  # it is in `next`
            assert told == ({x["name"] for x in given} or {"none"}), one.path


def test_a_parameter_of_an_address_is_there(schema: dict[str, Any]) -> None:
    for one in operations(schema):
        described = [x for x in one.described.get("parameters", []) if x["in"] == "path"]
        assert {x["name"] for x in described} == set(re.findall(r"\{(\w+)\}", one.path))
        assert all(x["required"] for x in described)


def known(told: dict[str, Any]) -> set[str]:
    """The names that a refusal of an unknown one tells."""
    listed = told["detail"].partition("known are ")[2].rstrip(".")
    return set(listed.split(", "))


def properties(schema: dict[str, Any], content: dict[str, Any]) -> set[str]:
    """The members of a body, as they are described."""
    shape = content["schema"]
    name = shape.get("$ref", "").rpartition("/")[2]
    return set((schema["components"]["schemas"][name] if name else shape)["properties"])


def test_without_a_key_everything_but_health_is_refused(
    nobody: Caller, schema: dict[str, Any]
) -> None:
    views = dict(routes())
    for one in operations(schema):
        refused = call(nobody, one).status_code == 401
        assert refused != issubclass(views[one.path], PublicView), one.path
        assert refused == ("security" in one.described), one.path


def test_a_wrong_key_may_try_every_call_in_a_minute(schema: dict[str, Any]) -> None:
    nobody = Caller("jq_wrong")
    for one in operations(schema):
        if "security" in one.described:
            problem(call(nobody, one), 401, "authentication_failed")


def section(title: str) -> str:
    """What stands below a heading of docs/rest.md."""
    text = (Path(settings.BASE_DIR) / "docs/rest.md").read_text()
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def written() -> Iterator[tuple[str, str, set[str]]]:
    """Method, address and parameters of each call: `GET` and `PUT /a/b` · `/c`, which is /a/c."""
    methods: list[str] = []
    path = ""
    for cell in re.findall(r"^(?:\| |\*\*Workers\*\*: )(.*?)(?: \||$)", section("Calls"), re.M):
        for text in re.findall(r"`([^`]+)`", cell):
            found = re.fullmatch(r"(?:([A-Z]+)(?: |$))?(/[^?]*)?(?:\?(.*))?", text)
            if not found:
                continue
            method, address, query = found.groups()
            if method and path:
                methods, path = [], ""
            methods += [method] if method else []
            if address:
                path = address if method else path.rpartition("/")[0] + address
                for one in methods:
                    yield one, path, set(re.findall(r"(\w+)=", query or ""))


def nameless(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def by_address(schema: dict[str, Any]) -> dict[tuple[str, str], Operation]:
    return {
        (one.method.upper(), nameless(one.path.removeprefix("/api/v1"))): one
        for one in operations(schema)
        if one.path.startswith("/api/v1")
    }


def test_docs_name_every_call(schema: dict[str, Any]) -> None:
    named = {(method, nameless(path)) for method, path, _ in written()}
    assert named == by_address(schema).keys()


def test_docs_name_parameters_that_are_there(schema: dict[str, Any]) -> None:
    there = by_address(schema)
    for method, path, names in written():
        given = there[method, nameless(path)].described.get("parameters", [])
        assert names <= {one["name"] for one in given if one["in"] == "query"}, path


def test_docs_explain_every_field_of_a_submission(schema: dict[str, Any]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("Submitting"), re.M)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    request = by_address(schema)["POST", "/jobs"].request or {}
    assert explained == properties(schema, request)
