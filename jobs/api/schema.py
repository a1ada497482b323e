"""The OpenAPI description: the decorator that says what a view answers, and the words it uses.

Request schemas come from the fields that read the requests; tests check answers against these.
Errors and examples are added to every operation: `error_answers.py`, `examples.py`. What jobs and
queues look like is in `job_schema.py` and `queue_schema.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from jobs.api.error_answers import MAY_BE_EMPTY, OWN_CODES
from jobs.api.pages import DEFAULT_LIMIT, MAX_LIMIT
from jobs.exports import Form
from jobs.fields import ONE_LINE, Field
from jobs.filters import MAX_CHARACTERS, MAX_ENCODED, MAX_TERMS, MAX_TEXT, READABLE
from jobs.models import NAME_PATTERN
from jobs.statuses import Status

Schema = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])


def ref(name: str) -> Schema:
    """A reference to a schema that `components.py` names."""
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


def page_schema(item: Schema) -> Schema:
    """The schema of a page of such items."""
    next_page = nullable(
        "string",
        format="uri",
        description="The address of the next page, to be called as it stands; null at the end. Its "
        "`cursor` is signed, and good for the same list, filter and tenant only.",
    )
    return record({"results": {"type": "array", "items": item}, "next": next_page})


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


def filter_parameters(filters: Mapping[str, Any]) -> list[OpenApiParameter]:
    """What narrows a list; a filter that is not in `_FILTERS` is a name."""
    return [parameter(name, _FILTERS.get(name, NAME)) for name in filters]


def list_parameters(filters: Mapping[str, Any]) -> list[OpenApiParameter]:
    """The query parameters of a list; its `cursor` is no caller's to make."""
    return [
        *filter_parameters(filters),
        parameter("limit", LIMIT),
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


def _answered(name: str, description: str, *statuses: int) -> OpenApiParameter:
    """A header of the answers with these statuses."""
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=list(statuses)
    )


def location(*statuses: int) -> OpenApiParameter:
    """The address of what is made, in answers with these statuses."""
    return _answered("Location", "The address of what was made.", *statuses)


ETAG = _answered("ETag", "Of this representation, for `If-None-Match`.", 200, 304)
PREFERENCE_APPLIED = _answered(
    "Preference-Applied", "`wait=25` where the answer was held back, if need be.", 200, 304
)
RATE_LIMIT = tuple(
    _answered(name, "Where submissions of the tenant are limited.", 200, 201)
    for name in ("RateLimit-Policy", "RateLimit")
)
RETRY_AFTER = _answered("Retry-After", "In seconds, where nobody has waited for jobs.", 200)


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


class BearerScheme(OpenApiAuthenticationExtension):
    """How the API is authenticated, for drf-spectacular."""

    target_class = "jobs.api.authentication.BearerAuthentication"
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """HTTP Bearer."""
        return {"type": "http", "scheme": "bearer", "description": "A key: `jq_…`"}
