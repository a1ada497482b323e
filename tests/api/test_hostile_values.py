"""Every member of every body, and every parameter, given what it is not: never a fault of ours.

What no JSON is, or refused wherever it stands: test_json_edge.py.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import PROBLEM, Caller
from tests.api.test_schema import a_path, operations, properties
from tests.api.test_schema import schema as schema

pytestmark = pytest.mark.django_db

VALUES = {
    "null": "null",
    "true": "true",
    "less than nothing": "-1",
    "a fraction": "1.5",
    "beyond any column": "1" + "0" * 400,
    "an empty text": '""',
    "a NUL": '"a\\u0000b"',
    "a long text": f'"{"x" * 100_000}"',
    "a time that is none": '"2030-02-30T00:00:60Z"',
    "the last moment": '"9999-12-31T23:59:59-12:00"',
    "an empty list": "[]",
    "a list of lists": "[[null]]",
    "a list of texts": '["\\u202e", ""]',
    "an object": '{"a": {"b": 1}}',
}
WORDS = (
    *("", "%00", "%ff", "%ED%A0%80", "-1", "1e9", "9" * 30, "NaN", "x" * 9_000, "%0a", "%22", ","),
    *("%D9%A1", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00%2B14:00", "status:", "((((("),
)
_HERE = "@here@"


def places(body: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a body something else could stand."""
    members = body.items() if isinstance(body, dict) else enumerate(body[:1])
    for name, value in members:
        yield (*before, name)
        if isinstance(value, dict | list):
            yield from places(value, (*before, name))


def with_value(body: Any, place: tuple[Any, ...], source: str) -> bytes:
    """The body as it is sent, with this there instead."""
    changed = inner = json.loads(json.dumps(body))
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = _HERE
    return json.dumps(changed).replace(f'"{_HERE}"', source).encode()


def bodies(schema: dict[str, Any], content: dict[str, Any], source: str) -> Iterator[bytes]:
    """The example of a body with this in each place, and as each member that it leaves out."""
    example = content["example"]
    for place in places(example):
        yield with_value(example, place, source)
    for name in properties(schema, content) - example.keys():
        yield with_value({**example, name: None}, (name,), source)


def require_no_fault(answer: Any, told: object) -> None:
    assert answer.status_code < 500, told
    if answer.status_code >= 400:
        assert answer["Content-Type"] == PROBLEM, told
        assert answer.json()["code"], told
        assert len(answer.content) <= 4_096, told


@pytest.mark.parametrize("name", VALUES)
def test_no_value_in_a_body_finds_a_fault(api: Caller, schema: dict[str, Any], name: str) -> None:
    for one in operations(schema):
        if one.request:
            for raw in bodies(schema, one.request, VALUES[name]):
                answer = api.call(one.method.upper(), a_path(one), raw=raw)
                require_no_fault(answer, (one.path, raw[:500]))


def test_no_value_of_a_parameter_finds_a_fault(api: Caller, schema: dict[str, Any]) -> None:
    for one in operations(schema):
        for parameter in one.described.get("parameters", []):
            if parameter["in"] == "query":
                for word in WORDS:
                    path = f"{a_path(one)}?{parameter['name']}={word}"
                    require_no_fault(api.call(one.method.upper(), path), path)
