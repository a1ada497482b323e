"""The OpenAPI description: what the views answer, and the decorator that says so.

Request schemas come from the fields that read the requests; a test checks answers against these.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from jobs.api.pages import DEFAULT_LIMIT, MAX_LIMIT
from jobs.fields import Field
from jobs.job_request import JOB_FIELDS
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.why import GATES

Schema = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])

PROBLEM_MEDIA_TYPE = "application/problem+json"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(members: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(members), "required": list(members)}


def object_of(fields: Mapping[str, Field]) -> Schema:
    """The schema of a request body with these fields, all of them optional."""
    members = {name: dict(field.schema) for name, field in fields.items()}
    return {"type": "object", "properties": members, "additionalProperties": False}


def _nullable(kind: str, **more: Any) -> Schema:
    return {"type": [kind, "null"], **more}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
INSTANT: Schema = {"type": "string", "format": "date-time"}
MAYBE_INSTANT = _nullable("string", format="date-time")
ID: Schema = {"type": "string", "format": "uuid"}
ERROR: Schema = {"oneOf": [_object({"type": TEXT, "message": TEXT}), {"type": "null"}]}
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
    "reason": _nullable("string", enum=[*(reason.value for reason in Reason), None]),
    "attempt": COUNT,
    "max_retries": COUNT,
    "lost_count": COUNT,
    "run_at": INSTANT,
    "created_at": INSTANT,
    "started_at": MAYBE_INSTANT,
    "finished_at": MAYBE_INSTANT,
    "lease_expires_at": MAYBE_INSTANT,
    "timeout_seconds": _nullable("number"),
    "tags": {"type": "array", "items": TEXT},
    "worker_tags": {"type": "array", "items": TEXT},
    "idempotency_key": _nullable("string"),
    "cancel_requested": {"type": "boolean"},
    "worker": _nullable("string"),
}
_ATTEMPT = _object(
    {
        "number": COUNT,
        "outcome": {"type": "string", "enum": [outcome.value for outcome in AttemptOutcome]},
        "error": ERROR,
        "traceback": _nullable("string"),
        "worker": TEXT,
        "started_at": MAYBE_INSTANT,
        "finished_at": INSTANT,
    }
)
_LANE = _object(
    {
        "name": TEXT,
        "paused": {"type": "boolean"},
        "weight": COUNT,
        "max_running": _nullable("integer"),
        "starts_per_minute": _nullable("integer"),
        "start_burst": COUNT,
        "depth": {"type": "object", "additionalProperties": COUNT},
        "dead": COUNT,
        "oldest_waiting_seconds": _nullable("number"),
    }
)
_PERCENTILES = _object({name: _nullable("number") for name in ("p50", "p95", "p99")})
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
            "items": _object({"pointer": TEXT, "code": TEXT, "detail": TEXT}),
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
}
COMPONENTS: Mapping[str, Schema] = {
    "Job": _object(_JOB_MEMBERS),
    "JobWithAttempts": _object(
        {**_JOB_MEMBERS, "attempts": {"type": "array", "items": _ref("Attempt")}}
    ),
    "Attempt": _ATTEMPT,
    "JobRequest": object_of(JOB_FIELDS),
    "Queue": _LANE,
    "Problem": _PROBLEM,
}


def _page(item: Schema) -> Schema:
    next_page = _nullable("string", format="uri")
    return _object({"results": {"type": "array", "items": item}, "next": next_page})


JOB, JOB_WITH_ATTEMPTS, JOB_REQUEST = _ref("Job"), _ref("JobWithAttempts"), _ref("JobRequest")
LANE = _ref("Queue")
JOB_PAGE, LANES = _page(JOB), _page(LANE)
BULK_REQUEST = _object(
    {"jobs": {"type": "array", "items": JOB_REQUEST, "minItems": 1, "maxItems": 1_000}}
)
BULK_ANSWER = _object({"ids": {"type": "array", "items": ID}, "created": COUNT})
REDRIVE_ANSWER = _object(
    {"count": COUNT, "ids": {"type": "array", "items": ID}, "more": {"type": "boolean"}}
)
_GATE = _object(
    {
        "code": {"type": "string", "enum": list(GATES)},
        "text": TEXT,
        "used": _nullable("integer"),
        "limit": _nullable("integer"),
        "opens_at": MAYBE_INSTANT,
        "wait_seconds": _nullable("number", description="A guess, for the place in line."),
    }
)
EXPLANATION = _object({"status": STATUS, "text": TEXT, "gates": {"type": "array", "items": _GATE}})
HEALTH = _object({"status": TEXT})
_MINUTE_COUNTS = ("started", "done", "failed", "dead", "cancelled")
FIGURES = _object(
    {
        "counts": _object({status.value: COUNT for status in Status}),
        "throughput": {
            "type": "array",
            "items": _object({"minute": INSTANT, **dict.fromkeys(_MINUTE_COUNTS, COUNT)}),
        },
        "wait_seconds": _PERCENTILES,
        "run_seconds": _PERCENTILES,
        "limits": _object(
            dict.fromkeys(
                ("max_running", "starts_per_minute", "submissions_per_minute", "max_pending"),
                _nullable("integer"),
            )
        ),
    }
)


def list_parameters(filters: Mapping[str, Any]) -> list[OpenApiParameter]:
    """The query parameters of a list."""
    own = [OpenApiParameter(name, str, description=_FILTERS.get(name, "")) for name in filters]
    size: Schema = {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_LIMIT,
        "default": DEFAULT_LIMIT,
    }
    return [
        *own,
        OpenApiParameter("limit", size),
        OpenApiParameter("cursor", str, description="From `next`; good for the same list only."),
    ]


_FILTERS = {
    "status": "One status, or several separated by commas.",
    "created_after": "RFC 3339, with an offset.",
    "created_before": "RFC 3339, with an offset.",
}
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="As `idempotency_key` in the body: the same key and request, the same job.",
)


def described(
    operation_id: str,
    summary: str,
    *,
    answers: Mapping[int, Schema | None],
    request: Schema | None = None,
    problems: Sequence[int] = (),
    parameters: Sequence[OpenApiParameter] = (),
    takes_idempotency_key: bool = False,
    is_public: bool = False,
) -> Callable[[View], View]:
    """Describe a view's method; its docstring becomes the description."""
    usual = () if is_public else (400, 401, 403, 404, 429)
    responses: dict[Any, Any] = {
        status: OpenApiResponse(schema, description=summary) for status, schema in answers.items()
    }
    for status in sorted({*usual, *problems}):
        responses[status, PROBLEM_MEDIA_TYPE] = OpenApiResponse(
            _ref("Problem"), description="What is wrong."
        )
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        request={"application/json": request} if request else None,
        responses=responses,
        parameters=[*parameters, *([_IDEMPOTENCY_KEY] if takes_idempotency_key else [])],
        auth=[] if is_public else None,
    )


def add_components(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """A postprocessing hook of drf-spectacular: the schemas that the operations refer to."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(COMPONENTS)
    return result


class BearerScheme(OpenApiAuthenticationExtension):
    """How the API is authenticated, for drf-spectacular."""

    target_class = "jobs.api.authentication.BearerAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """HTTP Bearer."""
        return {"type": "http", "scheme": "bearer", "description": "A key: `jq_…`"}
