"""What each task takes, in the OpenAPI description: found from the functions themselves."""

from inspect import Parameter
from typing import Any

from jobs.api.schema import Schema, ref
from jobs.job_request import NAMED, arguments_of
from jobs.registry import QueueTask, exposed_tasks
from jobs.remote import PREFIX

JSON = ref("Json")
_TEXT = {"type": "string", "pattern": r"^[^\x00]*$"}
JSON_COMPONENT: Schema = {
    "description": "Any JSON, up to 64 levels deep. No string in it holds NUL.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        _TEXT,
        {"type": "array", "items": JSON},
        {"type": "object", "propertyNames": _TEXT, "additionalProperties": JSON},
    ],
    "examples": [{"order": 17}],
}


def task_component() -> Schema:
    """The names of tasks that tenants may call."""
    own = {
        "type": "string",
        "pattern": rf"^{PREFIX}[A-Za-z0-9._:-]{{1,{128 - len(PREFIX)}}}$",
        "description": "For workers of your own.",
    }
    return {"oneOf": [{"type": "string", "enum": sorted(exposed_tasks())}, own]}


def payloads_of_tasks() -> list[Schema]:
    """One of these fits each request: that of its task, or the one of those that take anything."""
    choosy = {name: task for name, task in exposed_tasks().items() if not task.takes_payload}
    anything = {"properties": {"task": {"not": {"enum": sorted(choosy)}}}}
    return [anything, *(_payload_of(name, choosy[name]) for name in sorted(choosy))]


def _payload_of(name: str, task: QueueTask) -> Schema:
    taken = arguments_of(task.func, task.takes_context).parameters.values()
    needed = [one.name for one in taken if one.default is one.empty and one.kind in NAMED]
    payload: dict[str, Any] = {
        "type": "object",
        "properties": {one.name: JSON for one in taken if one.kind in NAMED},
        "additionalProperties": any(one.kind is Parameter.VAR_KEYWORD for one in taken),
    }
    if needed:
        payload["required"] = needed
    properties = {"task": {"const": name}, "payload": payload}
    return {"properties": properties, "required": ["task", *(["payload"] if needed else [])]}
