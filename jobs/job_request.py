"""From a request body to the `NewJob` that it asks for."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from inspect import Parameter, Signature, signature
from typing import Any

from django.utils import timezone

from jobs.conf import conf
from jobs.errors import (
    ForeignTenant,
    IdempotencyMismatch,
    InvalidFields,
    InvalidInput,
    UnknownTask,
)
from jobs.exact_json import Raw, canonical
from jobs.fields import (
    Field,
    integer,
    moment,
    number,
    optional,
    read_fields,
    text,
    texts,
    try_fields,
)
from jobs.models import NAME_PATTERN, Tenant
from jobs.registry import QueueTask, find_for_tenant
from jobs.remote import RemoteTask
from jobs.submission import (
    END_OF_TIME,
    MAX_PRIORITY,
    MIN_PRIORITY,
    PRIORITY_WORDS,
    NewJob,
    field_problems,
)

DEFAULT_TASK = "echo"
NAMED = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
"""The kinds of parameters that a payload can give."""


def _payload(value: Any) -> Any:
    return value


def _priority(value: Any) -> int:
    if isinstance(value, str):
        if value not in PRIORITY_WORDS:
            raise InvalidInput(
                f"must be an integer or one of {', '.join(PRIORITY_WORDS)}.", code="invalid_choice"
            )
        return PRIORITY_WORDS[value]
    if isinstance(value, float):  # a place on a scale, as its words are, and no amount
        raise InvalidInput("must be an integer.", code="invalid_type")
    return integer(value)


def _tenant(value: Any) -> str:
    return value if isinstance(value, str) else str(integer(value))


_NAME_SCHEMA = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}


def _tags(limit: str, description: str) -> Field:
    """A list of tags, no longer than this tunable says, whatever it repeats."""

    def read(value: Any) -> tuple[str, ...]:
        found = texts(value)
        if len(value) > getattr(conf(), limit):
            raise InvalidInput(f"may hold {getattr(conf(), limit)} tags.")
        return found

    most = getattr(conf(), limit)
    schema = {"type": "array", "items": _NAME_SCHEMA, "maxItems": most, "description": description}
    return Field(read, schema)


JOB_FIELDS: Mapping[str, Field] = {
    "task": Field(text, {**_NAME_SCHEMA, "default": DEFAULT_TASK}),
    "payload": Field(_payload, {"description": "Any JSON; kept byte for byte.", "default": None}),
    "queue": Field(text, {**_NAME_SCHEMA, "description": "Default: the task's own queue."}),
    "priority": Field(
        _priority,
        {
            "description": "Larger is sooner. Default: the task's own.",
            "oneOf": [
                {"type": "integer", "minimum": MIN_PRIORITY, "maximum": MAX_PRIORITY},
                {"type": "string", "enum": list(PRIORITY_WORDS)},
            ],
        },
    ),
    "run_at": Field(optional(moment), {"type": ["string", "null"], "format": "date-time"}),
    "delay_seconds": Field(optional(number), {"type": ["number", "null"], "minimum": 0}),
    "max_retries": Field(integer, {"type": "integer", "minimum": 0}),
    "timeout_seconds": Field(optional(number), {"type": ["number", "null"], "minimum": 0.1}),
    "idempotency_key": Field(
        optional(text), {"type": ["string", "null"], "pattern": "^[ -~]{1,255}$"}
    ),
    "tags": _tags("max_tags", "Repeated ones are stored once."),
    "worker_tags": _tags(
        "max_worker_tags", "Only workers with all of these tags run it. Default: the task's own."
    ),
    "tenant_id": Field(
        _tenant,
        {"type": ["string", "integer"], "description": "If given, must be the key's own tenant."},
    ),
}

BULK_FIELDS: Mapping[str, Field] = {"jobs": Field(_payload, {"type": "array"})}


def read_job(body: Any, tenant: Tenant, *, header_key: str | None = None) -> NewJob:
    """The job that a body asks for; `header_key` is the `Idempotency-Key` header.

    Raises `InvalidInput`, `UnknownTask`, `PayloadTooLarge`, `ForeignTenant` or, for a header and a
    field that differ, `IdempotencyMismatch`.
    """
    given, task = _read(body)
    _require_own(tenant, given.get("tenant_id"))
    key = _one_key(given.get("idempotency_key"), header_key)
    return NewJob(
        task=task.job_task,
        payload=payload_for(task, given.get("payload")),
        queue=_first(given.get("queue"), task.queue_name),
        priority=_first(given.get("priority"), task.priority),
        run_at=given.get("run_at"),
        delay_seconds=given.get("delay_seconds"),
        max_retries=given.get("max_retries", task.retries),
        timeout_seconds=_first(given.get("timeout_seconds"), task.timeout),
        tags=given.get("tags", ()),
        worker_tags=given.get("worker_tags", task.worker_tags),
        idempotency_key=key,
        request_hash=_request_hash(body) if key is not None else "",
    )


def _read(body: Any) -> tuple[dict[str, Any], QueueTask | RemoteTask]:
    """The fields and the task. Raises `InvalidFields` with all that is wrong with them."""
    given, errors = try_fields(body, JOB_FIELDS)
    name = given.pop("task", DEFAULT_TASK)
    errors += [*field_problems(given), *_out_of_reach(given.get("run_at"))]
    try:
        task = find_for_tenant(name)
    except UnknownTask as error:
        errors.append(error)
    if errors:
        raise InvalidFields(errors)
    return given, task


def read_bulk(body: Any, tenant: Tenant) -> list[NewJob]:
    """The jobs of a bulk body, all of them valid. Errors point at the item: `/jobs/3/queue`."""
    items = read_fields(body, BULK_FIELDS).get("jobs")
    if not isinstance(items, list):
        raise InvalidInput("jobs must be a list of jobs.", code="invalid_type", pointer="jobs")
    if not items:
        raise InvalidInput("jobs must hold at least one.", code="out_of_range", pointer="jobs")
    return [_read_item(index, item, tenant) for index, item in enumerate(items)]


def _read_item(index: int, item: Any, tenant: Tenant) -> NewJob:
    try:
        return read_job(item, tenant)
    except InvalidFields as error:
        raise InvalidFields([_inside(index, one) for one in error.errors]) from None
    except InvalidInput as error:
        raise _inside(index, error) from None


def _inside(index: int, error: InvalidInput) -> InvalidInput:
    pointer = f"jobs/{index}/{error.pointer}" if error.pointer else f"jobs/{index}"
    return InvalidInput(error.detail, code=error.field_code, pointer=pointer)


def _require_own(tenant: Tenant, claimed: str | None) -> None:
    if claimed is not None and claimed not in {tenant.slug, str(tenant.pk)}:
        raise ForeignTenant("tenant_id names another tenant than that of the key.")


def key_in_header(value: str) -> str:
    """The idempotency key that a header gives. Raises `InvalidInput`."""
    _refuse_several(value)
    if problems := list(field_problems({"idempotency_key": value})):
        raise InvalidFields(problems)
    return value


def _refuse_several(in_header: str) -> None:
    """Servers join headers of one name with commas."""
    if "," in in_header:
        raise InvalidInput(
            "Send one Idempotency-Key header, without commas.", pointer="idempotency_key"
        )


def _one_key(in_body: str | None, in_header: str | None) -> str | None:
    if in_header is not None:
        _refuse_several(in_header)
    if in_body is not None and in_header is not None and in_body != in_header:
        raise IdempotencyMismatch(
            "The Idempotency-Key header and idempotency_key differ; give one."
        )
    return _first(in_body, in_header)


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _out_of_reach(run_at: Any) -> Iterator[InvalidInput]:
    limit = conf().max_delay_seconds
    if run_at is None or run_at >= END_OF_TIME:
        return
    if run_at > timezone.now() + timedelta(seconds=limit):
        yield InvalidInput(
            f"run_at may be at most {limit / 86_400:g} days ahead.",
            code="out_of_range",
            pointer="run_at",
        )


def payload_for(task: QueueTask | RemoteTask, payload: Raw | None) -> bytes:
    """The payload's bytes, if the task can take it. Raises `InvalidInput`."""
    if isinstance(task, RemoteTask) or task.takes_payload:
        return b"null" if payload is None else payload.source
    arguments = {} if payload is None else payload.value
    if not isinstance(arguments, dict):
        raise InvalidInput(
            f"The task {task.job_task!r} takes named arguments: a JSON object.",
            code="invalid_payload",
            pointer="payload",
        )
    taken = arguments_of(task.func, task.takes_context)
    try:
        taken.bind(**arguments)
    except TypeError:  # says what was given too much, and the names in a payload are a part of it
        raise InvalidInput(
            f"The task {task.job_task!r} cannot take this payload: {_in_need_of(taken, arguments)}",
            code="invalid_payload",
            pointer="payload",
        ) from None
    return b"{}" if payload is None else payload.source


@cache
def arguments_of(function: Any, takes_context: bool) -> Signature:
    """What callers of a task may give: its function's parameters without the context."""
    whole = signature(function)
    return whole.replace(parameters=list(whole.parameters.values())[bool(takes_context) :])


def _in_need_of(taken: Signature, given: Mapping[str, Any]) -> str:
    """What is wrong with the arguments, in the task's own words alone."""
    known = [one for one in taken.parameters.values() if one.kind in NAMED]
    missing = [one.name for one in known if one.default is one.empty and one.name not in given]
    if missing:
        return f"missing {', '.join(map(repr, missing))}."
    return f"it takes {', '.join(repr(one.name) for one in known) or 'no arguments'} alone."


def _request_hash(body: dict[str, Any]) -> str:
    """Equal for equal requests, whether the idempotency key came in the body or in the header."""
    request = {name: value for name, value in body.items() if name != "idempotency_key"}
    return hashlib.sha256(canonical(request)).hexdigest()
