"""The schemas that have a name in the OpenAPI description, and the hook that puts them there."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from jobs.api.job_schema import JOB_COMPONENTS, TASK
from jobs.api.queue_schema import QUEUE_COMPONENT
from jobs.api.schema import TEXT, Schema, record
from jobs.api.task_schema import JSON, JSON_COMPONENT, payloads_of_tasks, task_component
from jobs.job_request import DEFAULT_TASK
from jobs.submission import ranges

_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "instance": {"type": "string", "format": "uri-reference"},
        "code": TEXT,
        "request_id": TEXT,
        "errors": {
            "type": "array",
            "items": record({"pointer": TEXT, "code": TEXT, "detail": TEXT}),
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
}
COMPONENTS: Mapping[str, Schema] = {
    **JOB_COMPONENTS,
    "Queue": QUEUE_COMPONENT,
    "Json": JSON_COMPONENT,
    "Problem": _PROBLEM,
}


def add_components(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular: the schemas that the operations refer to."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(deepcopy(dict(COMPONENTS)))
    fields = schemas["JobRequest"]["properties"]
    for name, (low, high) in ranges().items():
        if name != "priority":  # which says so itself, beside its words
            fields[name] |= {"minimum": low, "maximum": high}
    schemas["Task"] = task_component()
    schemas["JobRequest"]["anyOf"] = payloads_of_tasks()
    fields["task"] = {**TASK, "default": DEFAULT_TASK}
    fields["payload"] |= JSON
    return result
