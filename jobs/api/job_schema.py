"""What jobs look like in the OpenAPI description: as they are sent, and as they are answered."""

from collections.abc import Mapping

from jobs.api import examples
from jobs.api.schema import (
    COUNT,
    ERROR,
    ID,
    INSTANT,
    MAYBE_INSTANT,
    STATUS,
    TEXT,
    Schema,
    nullable,
    object_of,
    page_schema,
    record,
    ref,
)
from jobs.errors import UNREADABLE, InsufficientScope
from jobs.job_request import JOB_FIELDS
from jobs.statuses import AttemptOutcome, Reason
from jobs.why import GATES

_JOB_MEMBERS: Mapping[str, Schema] = {
    "id": ID,
    "task": TEXT,
    "queue": TEXT,
    "status": STATUS,
    "priority": {"type": "integer"},
    "payload": {"description": "The JSON that was sent, byte for byte."},
    "result": {"description": "The JSON that the task returned; null until it is DONE."},
    "error": ERROR,
    "reason": nullable("string", enum=[*(reason.value for reason in Reason), None]),
    "attempt": COUNT,
    "max_retries": COUNT,
    "lost_count": COUNT,
    "run_at": INSTANT,
    "created_at": INSTANT,
    "started_at": MAYBE_INSTANT,
    "finished_at": MAYBE_INSTANT,
    "lease_expires_at": MAYBE_INSTANT,
    "timeout_seconds": nullable("number"),
    "tags": {"type": "array", "items": TEXT},
    "worker_tags": {"type": "array", "items": TEXT},
    "idempotency_key": nullable("string"),
    "cancel_requested": {"type": "boolean"},
    "worker": nullable("string"),
    "unreadable": nullable(
        "string",
        enum=[*(error.code for error in (*UNREADABLE, InsufficientScope)), None],
        description="Why payload, result and error cannot be read, and are null or say so; "
        "`insufficient_scope`: not by this key.",
    ),
}
_ATTEMPT = record(
    {
        "number": COUNT,
        "outcome": {"type": "string", "enum": [outcome.value for outcome in AttemptOutcome]},
        "error": ERROR,
        "traceback": nullable("string"),
        "worker": TEXT,
        "started_at": MAYBE_INSTANT,
        "finished_at": INSTANT,
    }
)
_BOTH_TIMES = {
    "required": ["run_at", "delay_seconds"],
    "properties": {"run_at": {"type": "string"}, "delay_seconds": {"type": "number"}},
}
JOB_COMPONENTS: Mapping[str, Schema] = {
    "Job": {**record(_JOB_MEMBERS), "examples": [examples.JOB]},
    "JobWithAttempts": {
        **record({**_JOB_MEMBERS, "attempts": {"type": "array", "items": ref("Attempt")}}),
        "examples": [{**examples.JOB, "attempts": [examples.ATTEMPT]}],
    },
    "Attempt": _ATTEMPT,
    "JobRequest": {**object_of(JOB_FIELDS, example=examples.JOB_REQUEST), "not": _BOTH_TIMES},
}

JOB, JOB_WITH_ATTEMPTS, JOB_REQUEST = ref("Job"), ref("JobWithAttempts"), ref("JobRequest")
TASK = ref("Task")
JOB_PAGE = page_schema(JOB)
_JOB_REQUESTS: Schema = {
    "type": "array",
    "items": JOB_REQUEST,
    "minItems": 1,
    "description": "Up to 1,000; more are refused as a body that is too large (413).",
}
BULK_REQUEST = {**record({"jobs": _JOB_REQUESTS}), "additionalProperties": False}
BULK_ANSWER = record({"ids": {"type": "array", "items": ID}, "created": COUNT})
SUBMISSION_PROBLEMS = (
    *("foreign_tenant", "tenant_inactive", "unknown_task", "invalid_payload"),
    *("idempotency_mismatch", "try_again", "rate_limited", "queue_full"),
    *("too_many_queues", "too_many_lines", "queue_not_allowed"),
    *("encryption_key_missing", "encryption_key_erased"),
)
REDRIVE_ANSWER = record(
    {"count": COUNT, "ids": {"type": "array", "items": ID}, "more": {"type": "boolean"}}
)
_GATE = record(
    {
        "code": {"type": "string", "enum": list(GATES)},
        "text": TEXT,
        "used": nullable("integer"),
        "limit": nullable("integer"),
        "opens_at": MAYBE_INSTANT,
        "wait_seconds": nullable("number", description="A guess, for the place in line."),
    }
)
EXPLANATION = record({"status": STATUS, "text": TEXT, "gates": {"type": "array", "items": _GATE}})
