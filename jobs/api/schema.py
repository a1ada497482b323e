"""The OpenAPI description: what the views answer, and the decorator that says so.

Request schemas come from the fields that read the requests; tests check answers against these.
Errors and examples are added to every operation: `error_answers.py`, `examples.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from jobs.api import examples
from jobs.api.error_answers import MAY_BE_EMPTY, OWN_CODES
from jobs.api.pages import CURSOR_PATTERN, DEFAULT_LIMIT, MAX_CURSOR, MAX_LIMIT
from jobs.errors import UNREADABLE, InsufficientScope
from jobs.exports import Form
from jobs.fields import ONE_LINE, Field
from jobs.filters import MAX_CHARACTERS, MAX_ENCODED, MAX_TERMS, MAX_TEXT, READABLE
from jobs.job_request import DEFAULT_TASK, JOB_FIELDS
from jobs.models import NAME_PATTERN, START_LIMITS
from jobs.registry import exposed_tasks
from jobs.remote import PREFIX
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store.depths import CAP, SEARCHED
from jobs.submission import ranges
from jobs.why import GATES

Schema = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def record(members: Mapping[str, Schema]) -> Schema:
    """The schema of an object that has all of these members."""
    return {"type": "object", "properties": dict(members), "required": list(members)}


def object_of(
    fields: Mapping[str, Field], *required: str, example: Schema | None = None, at_least: int = 0
) -> Schema:
    """The schema of a request body with these fields, all optional but `required`.

    `example` is a request that the API takes; by default every field is shown, which not every
    operation takes together. `at_least` so many fields have to be given, whichever they are.
    """
    members = {name: dict(field.schema) for name, field in fields.items()}
    schema: Schema = {"type": "object", "properties": members, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    if at_least:
        schema["minProperties"] = at_least
    return schema if example is None else {**schema, "examples": [example]}


def nullable(kind: str, **more: Any) -> Schema:
    """The schema of a value of this JSON type, or null."""
    return {"type": [kind, "null"], **more}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
INSTANT: Schema = {"type": "string", "format": "date-time"}
MAYBE_INSTANT = nullable("string", format="date-time")
ID: Schema = {"type": "string", "format": "uuid"}
NAME: Schema = {"type": "string", "pattern": f"^{NAME_PATTERN}$", "examples": ["hooks"]}
ERROR_TYPE: Schema = {"type": "string", "maxLength": MAX_TEXT, "pattern": f"^{ONE_LINE}*$"}
ERROR: Schema = {"oneOf": [record({"type": TEXT, "message": TEXT}), {"type": "null"}]}
STATUS: Schema = {"type": "string", "enum": [status.value for status in Status]}

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
_CAPPED = f"Counting stops at {CAP:,}: that many stand for that many or more."
_LANE = record(
    {
        "name": TEXT,
        "paused": {"type": "boolean"},
        "paused_at": MAYBE_INSTANT,
        "paused_by": nullable("string"),
        "pause_reason": nullable("string"),
        "weight": COUNT,
        "max_running": nullable("integer"),
        "starts_per_minute": nullable("integer"),
        "start_burst": COUNT,
        "ceilings": record(dict.fromkeys(START_LIMITS, nullable("integer"))),
        "depth": {
            "type": "object",
            "additionalProperties": COUNT,
            "description": _CAPPED
            + f" SCHEDULED, BLOCKED, FAILED and `dead` are counted among {SEARCHED:,} such jobs "
            "of the tenant.",
        },
        "dead": {**COUNT, "description": _CAPPED},
        "oldest_waiting_seconds": nullable(
            "number",
            description="Since the oldest became ready, among the first thousand to run of each "
            "combination of task and worker tags.",
        ),
    }
)
_PERCENTILES = record({name: nullable("number") for name in ("p50", "p95", "p99")})
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
_BOTH_TIMES = {
    "required": ["run_at", "delay_seconds"],
    "properties": {"run_at": {"type": "string"}, "delay_seconds": {"type": "number"}},
}
COMPONENTS: Mapping[str, Schema] = {
    "Job": {**record(_JOB_MEMBERS), "examples": [examples.JOB]},
    "JobWithAttempts": {
        **record({**_JOB_MEMBERS, "attempts": {"type": "array", "items": _ref("Attempt")}}),
        "examples": [{**examples.JOB, "attempts": [examples.ATTEMPT]}],
    },
    "Attempt": _ATTEMPT,
    "JobRequest": {**object_of(JOB_FIELDS, example=examples.JOB_REQUEST), "not": _BOTH_TIMES},
    "Queue": _LANE,
    "Problem": _PROBLEM,
}


def page_schema(item: Schema) -> Schema:
    """The schema of a page of such items."""
    next_page = nullable("string", format="uri")
    return record({"results": {"type": "array", "items": item}, "next": next_page})


JOB, JOB_WITH_ATTEMPTS, JOB_REQUEST = _ref("Job"), _ref("JobWithAttempts"), _ref("JobRequest")
LANE, TASK = _ref("Queue"), _ref("Task")
JOB_PAGE, LANES = page_schema(JOB), page_schema(LANE)
_JOB_REQUESTS: Schema = {"type": "array", "items": JOB_REQUEST, "minItems": 1, "maxItems": 1_000}
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
HEALTH = record({"status": TEXT})
_MINUTE_COUNTS = ("started", "done", "failed", "dead", "cancelled")
FIGURES = record(
    {
        "counts": {
            **record({status.value: COUNT for status in Status}),
            "description": f"{_CAPPED} DONE are all that ever were.",
        },
        "throughput": {
            "type": "array",
            "items": record({"minute": INSTANT, **dict.fromkeys(_MINUTE_COUNTS, COUNT)}),
        },
        "wait_seconds": _PERCENTILES,
        "run_seconds": _PERCENTILES,
        "limits": record(
            dict.fromkeys(
                ("max_running", "starts_per_minute", "submissions_per_minute", "max_pending"),
                nullable("integer"),
            )
        ),
    }
)


_INSTANT_FILTER = {**INSTANT, "description": "RFC 3339, with an offset."}
FILTER: Schema = {
    "type": "string",
    "format": "job-filter",
    "pattern": f"^{READABLE}*$",
    "maxLength": MAX_CHARACTERS,
    "description": 'Such as `status:DLQ queue:email error:"timed out" created:>2h -tag:test`, '
    f"up to {MAX_TERMS} conditions and, as an address writes it, {MAX_ENCODED} bytes.",
}
_FILTERS: Mapping[str, Schema] = {
    "filter": FILTER,
    "status": {
        "type": "array",
        "items": STATUS,
        "minItems": 1,
        "description": "One status, or several separated by commas.",
    },
    "created_after": _INSTANT_FILTER,
    "created_before": _INSTANT_FILTER,
    "error_type": ERROR_TYPE,
}
LIMIT: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_LIMIT,
    "default": DEFAULT_LIMIT,
}
CURSOR: Schema = {
    "type": "string",
    "pattern": CURSOR_PATTERN,
    "maxLength": MAX_CURSOR,
    "description": "From `next`: signed, and good for the same list, filter and tenant only.",
}


def filter_parameters(filters: Mapping[str, Any]) -> list[OpenApiParameter]:
    """What narrows a list; a filter that is not in `_FILTERS` is a name."""
    return [parameter(name, _FILTERS.get(name, NAME)) for name in filters]


def list_parameters(filters: Mapping[str, Any]) -> list[OpenApiParameter]:
    """The query parameters of a list."""
    return [
        *filter_parameters(filters),
        parameter("limit", LIMIT),
        parameter("cursor", CURSOR),
    ]


def parameter(name: str, schema: Schema) -> OpenApiParameter:
    """A query parameter; several values of one are separated by commas."""
    shape = {key: value for key, value in schema.items() if key != "description"}
    return OpenApiParameter(
        name, shape, description=schema.get("description", ""), style="form", explode=False
    )


FORM = parameter("format", {"type": "string", "enum": [*Form], "default": Form.CSV})
takes_no_body: set[Callable[..., Any]] = set()
"""The methods of views that are described without a request body."""
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    # Printable ASCII, with neither commas nor spaces at the ends, which no header can carry.
    {"type": "string", "maxLength": 255, "pattern": r"^[!-+\--~]([ -+\--~]*[!-+\--~])?$"},
    OpenApiParameter.HEADER,
    description="As `idempotency_key` in the body: the same key and request, the same job.",
)

IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="An `ETag` that was answered: 304 while the representation is the same.",
)
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID",
    str,
    OpenApiParameter.HEADER,
    description="The id of the last event that was received, to go on after it.",
)
PREFER_WAIT = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="`wait=25`: hold the answer back until there is news, for so many seconds. "
    "Other preferences are passed over (RFC 7240).",
)


def described(
    operation_id: str,
    summary: str,
    *,
    answers: Mapping[int, Schema | None],
    request: Schema | None = None,
    problems: Sequence[str] = (),
    parameters: Sequence[OpenApiParameter] = (),
    takes_idempotency_key: bool = False,
    is_public: bool = False,
    may_be_empty: bool = False,
    media_types: Sequence[str] = ("application/json",),
) -> Callable[[View], View]:
    """Describe a view's method; its docstring becomes the description.

    `problems` are the codes of docs/errors.md that only the view knows of, such as
    `status_conflict`; what every call with a key, a body or an id can be refused for is added.
    `may_be_empty` says that the call needs no body, though it takes one.
    """
    responses = {
        (status, media_type): OpenApiResponse(schema, description=summary)
        for status, schema in answers.items()
        for media_type in media_types
    }
    describe = extend_schema(
        operation_id=operation_id,
        summary=summary,
        request={"application/json": request} if request else None,
        responses=responses,
        parameters=[*parameters, *([_IDEMPOTENCY_KEY] if takes_idempotency_key else [])],
        auth=[] if is_public else None,
        extensions={OWN_CODES: list(problems), **({MAY_BE_EMPTY: True} if may_be_empty else {})},
    )

    def decorate(view: View) -> View:
        described_view: View = describe(view)
        if request is None:
            takes_no_body.add(described_view)
        return described_view

    return decorate


def add_components(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular: the schemas that the operations refer to."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(deepcopy(dict(COMPONENTS)))
    fields = schemas["JobRequest"]["properties"]
    for name, (low, high) in ranges().items():
        if name != "priority":  # which says so itself, beside its words
            fields[name] |= {"minimum": low, "maximum": high}
    schemas["Task"] = {
        "oneOf": [
            {"type": "string", "enum": sorted(exposed_tasks())},
            {
                "type": "string",
                "pattern": rf"^{PREFIX}[A-Za-z0-9._:-]{{1,{128 - len(PREFIX)}}}$",
                "description": "For workers of your own.",
            },
        ]
    }
    fields["task"] = {**TASK, "default": DEFAULT_TASK}
    return result


class BearerScheme(OpenApiAuthenticationExtension):
    """How the API is authenticated, for drf-spectacular."""

    target_class = "jobs.api.authentication.BearerAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """HTTP Bearer."""
        return {"type": "http", "scheme": "bearer", "description": "A key: `jq_…`"}
