"""What the calls about leases take and answer, for the OpenAPI description."""

from collections.abc import Iterable, Mapping
from typing import Any

from jobs.api import examples
from jobs.api.job_schema import JOB, TASK
from jobs.api.schema import COUNT, ID, MAYBE_INSTANT, STATUS, Schema, nullable, object_of, record
from jobs.api.task_schema import JSON
from jobs.fields import Field
from jobs.leases import ALL_PAUSED
from jobs.leases_reported import Refusal
from jobs.leases_requested import (
    DONE_FIELDS,
    FAILED_FIELDS,
    HELD_FIELDS,
    LEASE_FIELDS,
    LOG_FIELDS,
    MAX_REPORTED,
    lease_seconds_field,
)

_WISH: Schema = {
    "queues": ["pictures"],
    "tasks": ["remote:resize"],
    "max_jobs": 4,
    "lease_seconds": 30,
    "wait_seconds": 20,
    "worker": "resizer-1",
}
_HELD: Schema = {"job_id": examples.ID, "fence": 1}
_LEASED: Schema = {
    **examples.JOB,
    "task": "remote:resize",
    "queue": "pictures",
    "status": "RUNNING",
    "error": None,
    "lease_expires_at": examples.INSTANT,
    "worker": "rest/Ab3dE6gh/resizer-1",
    "fence": 1,
}

_TASKS: Schema = {**LEASE_FIELDS["tasks"].schema, "items": TASK}
LEASE_REQUEST = object_of(
    {**LEASE_FIELDS, "tasks": Field(list, _TASKS)}, example={**_WISH, "wait_seconds": 0}
)
LEASE_ANSWER: Schema = {
    **record(
        {
            "jobs": {"type": "array", "items": {"allOf": [JOB, record({"fence": COUNT})]}},
            "poll_after_seconds": {"type": "number", "minimum": 0},
            "reason": nullable(
                "string",
                enum=[ALL_PAUSED, None],
                description="Why there are no jobs: all of the queues are paused.",
            ),
        }
    ),
    "examples": [{"jobs": [_LEASED], "poll_after_seconds": 0, "reason": None}],
}


def _reports(
    fields: Mapping[str, Field],
    example: Schema,
    required: Iterable[str] = HELD_FIELDS,
    **others: Field,
) -> Schema:
    item = object_of(fields, *required, example=example)
    items = {
        "type": "array",
        "items": item,
        "minItems": 1,
        "maxItems": MAX_REPORTED,
    }
    whole: Mapping[str, Field] = {"leases": Field(list, items), **others}
    return object_of(whole, "leases", example={"leases": [example]})


HEARTBEAT_REQUEST = _reports(HELD_FIELDS, _HELD, lease_seconds=lease_seconds_field)
_OUTPUT = Field(list, {**DONE_FIELDS["result"].schema, **JSON})
ACK_REQUEST = _reports({**DONE_FIELDS, "result": _OUTPUT}, {**_HELD, "result": {"width": 640}})
FAIL_REQUEST = _reports(
    FAILED_FIELDS,
    {
        **_HELD,
        "error": {**examples.ERROR, "traceback": "Traceback …"},
        "retryable": True,
        "retry_in_seconds": 60,
    },
)
_LINE = {"message": "width 640", "level": "info", "logger": "resizer", "at": examples.INSTANT}
LOG_REQUEST = _reports(LOG_FIELDS, {**_HELD, "first": 1, "lines": [_LINE]}, required=LOG_FIELDS)
RELEASE_REQUEST = _reports(HELD_FIELDS, _HELD)

_RESULT: Mapping[str, Any] = {
    "job_id": ID,
    "fence": COUNT,
    "ok": {"type": "boolean"},
    "code": nullable("string", enum=[*(refusal.value for refusal in Refusal), None]),
    "detail": nullable("string"),
    "status": {"oneOf": [STATUS, {"type": "null"}]},
    "cancel_requested": {"type": "boolean"},
    "lease_expires_at": MAYBE_INSTANT,
}
REPORT_ANSWER: Schema = {
    **record({"results": {"type": "array", "items": record(_RESULT)}}),
    "examples": [
        {
            "results": [
                {
                    **_HELD,
                    "ok": True,
                    "code": None,
                    "detail": None,
                    "status": "RUNNING",
                    "cancel_requested": False,
                    "lease_expires_at": examples.INSTANT,
                }
            ]
        }
    ],
}
