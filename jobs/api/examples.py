"""Examples for the OpenAPI description: one of every request and answer, made from its schema.

A schema may bring its own (`examples`); otherwise each member is shown by its format, its choices
or its type. A test sends the requests and holds the answers to their schemas.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

ID = "0197f3c2-5a7b-7c1e-9d3f-2b6a8e4c1d05"
INSTANT = "2030-01-01T12:00:00.000000Z"
ERROR = {"type": "TimeoutError", "message": "the other side did not answer"}
ATTEMPT: Schema = {
    "number": 1,
    "outcome": "failed",
    "error": ERROR,
    "traceback": None,
    "worker": "web-1:4211",
    "started_at": INSTANT,
    "finished_at": INSTANT,
}
LOG_LINE: Schema = {
    "id": "1-17",
    "attempt": 1,
    "number": 17,
    "at": INSTANT,
    "level": "warning",
    "logger": "shop.mail",
    "message": "the other side is slow",
}
JOB_REQUEST: Schema = {
    "task": "http_request",
    "payload": {"url": "https://example.org/hook", "body": {"order": 17}},
    "queue": "hooks",
    "priority": "high",
    "max_retries": 5,
    "timeout_seconds": 30,
    "tags": ["order"],
}
JOB: Schema = {
    **JOB_REQUEST,
    "id": ID,
    "status": "FAILED",
    "priority": 50,
    "result": None,
    "error": ERROR,
    "reason": None,
    "attempt": 1,
    "lost_count": 0,
    "run_at": INSTANT,
    "created_at": INSTANT,
    "started_at": INSTANT,
    "finished_at": None,
    "lease_expires_at": None,
    "worker_tags": [],
    "idempotency_key": "order-17",
    "cancel_requested": False,
    "worker": None,
    "unreadable": None,
}

_OF_FORMAT = {
    "date-time": INSTANT,
    "uuid": ID,
    "uri": "https://queue.example.org/api/v1/jobs",
    "job-filter": "status:DLQ queue:hooks",
}
_OF_TYPE: Mapping[str, Any] = {"boolean": True, "number": 1.5, "string": "text", "null": None}


def add_examples(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular: examples where a JSON body has none."""
    components = result["components"]["schemas"]
    for methods in result["paths"].values():
        for operation in methods.values():
            for body in (operation.get("requestBody", {}), *operation["responses"].values()):
                content = body.get("content", {}).get("application/json")
                if content is not None and not {"example", "examples"} & content.keys():
                    content["example"] = example_of(content["schema"], components)
    return result


def example_of(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """A value that fits the schema."""
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components)
    if "examples" in schema:
        return schema["examples"][0]
    if "oneOf" in schema:
        return example_of(schema["oneOf"][0], components)
    if "enum" in schema:
        return schema["enum"][0]
    return _by_type(schema, components)


def _by_type(schema: Schema, components: Mapping[str, Schema]) -> Any:
    kinds = schema.get("type", "null")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        members = schema.get("properties", {})
        return {name: example_of(member, components) for name, member in members.items()}
    if kind == "array":
        return [example_of(schema["items"], components)] if "items" in schema else []
    if kind == "integer":
        return schema.get("minimum", 1)
    return _OF_FORMAT.get(schema.get("format", ""), _OF_TYPE[kind])
