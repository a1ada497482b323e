"""Which errors each operation can answer, for the OpenAPI description: found from its own shape.

An operation with a key can answer 401, one with a body 415, one with a field that is a time
`invalid_time`, and so on. What cannot be seen so (`problems` of `described`) is said by its view.
"""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from jobs.addresses import NAMES
from jobs.api.problems import MEDIA_TYPE, OTHER_CODES, TYPE_PREFIX
from jobs.errors import INVALID, JobQueueError, status_of
from jobs.models import NAME_PATTERN

Schema = dict[str, Any]

OWN_CODES = "x-problems"
"""Where `described` leaves the codes that a view names."""
MAY_BE_EMPTY = "x-may-be-empty"
"""And this, that a call needs no body."""

_ALWAYS = ("invalid_input", "unavailable", "internal_error")
_WITH_KEY = (
    *("not_authenticated", "authentication_failed", "insufficient_scope", "not_acceptable"),
    *("unknown_parameter", "invalid_parameter", "too_many_calls", "too_many_failures"),
)
_WITH_BODY = (
    *("malformed_json", "not_an_object", "invalid_unicode", "nul_character", "invalid_number"),
    *("duplicate_key", "too_deep", "too_many_items", "unknown_field", "invalid_type"),
    *("too_large", "length_required", "unsupported_media_type"),
)
_WITHOUT_BODY = ("unknown_field", "too_large", "length_required")
_OF_KEYWORD: Mapping[str, tuple[str, ...]] = {
    "enum": ("invalid_choice",),
    **dict.fromkeys(("minimum", "maximum", "minItems", "maxItems"), ("out_of_range",)),
}
_OF_FORMAT: Mapping[str, tuple[str, ...]] = {
    "date-time": ("invalid_time", "timezone_required"),
    "uuid": ("invalid_id",),
    "job-filter": ("unknown_word", "invalid_filter"),
}
_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", "RateLimit-Policy", "RateLimit"),
    503: ("Retry-After",),
}


def codes() -> dict[str, tuple[int, str]]:
    """Every code that the API can answer: its status and what it means."""
    classes = {kind.code: (kind.status, _first_line(kind)) for kind in _tree(JobQueueError)}
    invalid = {code: (status_of(code), meaning) for code, meaning in INVALID.items()}
    return {**classes, **invalid, **OTHER_CODES}


def _tree(kind: type[JobQueueError]) -> Iterator[type[JobQueueError]]:
    """The classes below this one; of those that share a code, the first of `jobs.errors` last."""
    for child in reversed(kind.__subclasses__()):
        yield from _tree(child)
        yield child


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def describe_errors(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular: the errors of each operation."""
    known = codes()
    for path, methods in result["paths"].items():
        for operation in methods.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = not operation.pop(MAY_BE_EMPTY, False)
            for one in operation.get("parameters", ()):
                if one["in"] == "path" and one["name"] in NAMES:
                    one["schema"] = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
            own = _codes_of(path, operation, result["components"]["schemas"])
            by_status: dict[int, list[str]] = {}
            for code in sorted(own):
                by_status.setdefault(known[code][0], []).append(code)
            for status in sorted(by_status):
                answer = _answer(status, {code: known[code][1] for code in by_status[status]}, path)
                operation["responses"][str(status)] = answer
    return result


def _codes_of(path: str, operation: Schema, components: Schema) -> set[str]:
    found = {*_ALWAYS, *operation.pop(OWN_CODES, ())}
    parameters = operation.get("parameters", [])
    if "security" in operation:
        found.update(_WITH_KEY)
        found.update(_WITHOUT_BODY)
    if any(one["in"] == "path" for one in parameters):
        found.add("not_found")
    if "requestBody" in operation:
        found.update(_WITH_BODY)
        found |= _codes_of_schema(_body(operation), components)
    for one in (one for one in parameters if one["in"] in {"query", "path"}):
        found |= _codes_of_schema(one["schema"], components)
        found |= {"invalid_cursor"} if one["name"] == "limit" else set()  # a list that goes on
    return found


def _body(operation: Schema) -> Schema:
    schema: Schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


def _codes_of_schema(schema: Schema, components: Schema) -> set[str]:
    """What a value that does not fit this schema is called."""
    if "$ref" in schema:
        return _codes_of_schema(components[schema["$ref"].rpartition("/")[2]], components)
    found = {code for keyword in schema for code in _OF_KEYWORD.get(keyword, ())}
    found.update(_OF_FORMAT.get(schema.get("format", ""), ()))
    found |= {"invalid_name"} if schema.get("pattern") == f"^{NAME_PATTERN}$" else set()
    for inner in _inside(schema):
        found |= _codes_of_schema(inner, components)
    return found


def _inside(schema: Schema) -> Iterable[Schema]:
    items = [schema["items"]] if "items" in schema else []
    return [*schema.get("properties", {}).values(), *schema.get("oneOf", ()), *items]


def _answer(status: int, meanings: Mapping[str, str], path: str) -> Schema:
    """The response of one status, with an example for each code."""
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"status": {"const": status}, "code": {"enum": list(meanings)}}},
        ]
    }
    examples = {
        code: {"summary": meaning, "value": _example(status, code, meaning, path)}
        for code, meaning in meanings.items()
    }
    text = {"schema": {"type": "string"}}
    return {
        "description": "\n".join(f"- `{code}`: {text}" for code, text in meanings.items()),
        "headers": dict.fromkeys(("X-Request-Id", *_HEADERS.get(status, ())), text),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _example(status: int, code: str, meaning: str, path: str) -> Schema:
    return {
        "type": TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": meaning,
        "instance": path,
        "code": code,
        "request_id": "req_5f0c1f6b2a9d4e8c7b3a1d20",
    }
