"""From the bodies of the calls about leases to what they ask for and report."""

import re
import uuid
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from jobs.conf import conf
from jobs.errors import InvalidFields, InvalidInput, UnknownTask
from jobs.exact_json import Raw
from jobs.fields import (
    WITHOUT_NUL,
    Field,
    bounded,
    flag,
    integer,
    moment,
    number,
    optional,
    text,
    texts,
    try_fields,
    within,
)
from jobs.leases import MAX_NAME, Wish, worker_id
from jobs.leases_logged import Told, ToldLine
from jobs.leases_reported import Done, Failed
from jobs.models import NAME_PATTERN, ApiKey
from jobs.registry import find_for_tenant
from jobs.store import Lease
from jobs.store.log_lines import LEVELS
from jobs.uuid7 import read_id

MAX_LEASED, MAX_REPORTED, MAX_NAMES = 100, 1_000, 100
MIN_LEASE_SECONDS, MAX_LEASE_SECONDS = 5, 3_600
MAX_WAIT_SECONDS = 30
"""A longer wait is allowed, and ends after this."""
MAX_FENCE = 2**63 - 1
UNNAMED = "worker"

R = TypeVar("R", Done, Failed)
_name = re.compile(rf"\A{NAME_PATTERN}\Z")


def _names(value: Any) -> frozenset[str]:
    found = texts(value)
    if len(value) > MAX_NAMES:
        raise InvalidInput(f"may hold {MAX_NAMES} names.", code="out_of_range")
    if not all(map(_name.match, found)):
        raise InvalidInput("must hold names.", code="invalid_name")
    return frozenset(found)


def _tasks(value: Any) -> frozenset[str]:
    """Names of tasks that tenants may run; a misspelt one would wait for ever."""
    found = _names(value)
    try:
        for name in found:
            find_for_tenant(name)
    except UnknownTask as error:
        raise InvalidInput(f"must be known. {error.detail}", code="unknown_task") from None
    return found


def _level(value: Any) -> int:
    if text(value) not in LEVELS:
        raise InvalidInput(f"must be one of {', '.join(LEVELS)}.", code="invalid_choice")
    return LEVELS[value]


def _lines(value: Any) -> list[ToldLine]:
    if not isinstance(value, list):
        raise InvalidInput("must be a list.", code="invalid_type")
    if not 1 <= len(value) <= MAX_TOLD:
        raise InvalidInput(f"must hold 1 to {MAX_TOLD} lines.", code="out_of_range")
    return [_line(index, line) for index, line in enumerate(value)]


def _line(index: int, value: Any) -> ToldLine:
    try:
        given, errors = try_fields(value, LINE_FIELDS)
    except InvalidInput as error:  # it is no object
        given, errors = {}, [error]
    if not errors and "message" not in given:
        missing = InvalidInput("message is missing.", code="missing_field", pointer="message")
        errors = [missing]
    for wrong in errors[:1]:
        pointer = "/".join(filter(None, (str(index), wrong.pointer)))
        raise InvalidInput(wrong.detail, code=wrong.field_code, pointer=pointer)
    return ToldLine(**given)


def _worker(value: Any) -> str:
    if not _name.match(text(value)) or len(value) > MAX_NAME:
        raise InvalidInput(f"must be a name of at most {MAX_NAME} characters.", code="invalid_name")
    return str(value)


def _job_id(value: Any) -> uuid.UUID:
    try:
        return read_id(text(value))
    except ValueError:
        raise InvalidInput("must be a job id.", code="invalid_id") from None


def _delay(value: Any) -> float:
    return float(within(number, 0, conf().max_delay_seconds)(value))


def _result(value: Any) -> bytes:
    return value.source if isinstance(value, Raw) else b"null"


def _error(value: Any) -> dict[str, Any]:
    given, errors = try_fields(value, ERROR_FIELDS)
    if errors:
        raise errors[0]
    return given


_NAME: Mapping[str, Any] = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
_NAMES: Mapping[str, Any] = {"type": "array", "items": _NAME, "maxItems": MAX_NAMES}
lease_seconds_field = bounded(
    number,
    MIN_LEASE_SECONDS,
    MAX_LEASE_SECONDS,
    description="How long the lease lasts from now on.",
)

LEASE_FIELDS: Mapping[str, Field] = {
    "queues": Field(_names, {**_NAMES, "description": "Default: all that the key may use."}),
    "tasks": Field(_tasks, {**_NAMES, "description": "Default: all that tenants may run."}),
    "tags": Field(_names, {**_NAMES, "description": "What this worker has of `worker_tags`."}),
    "max_jobs": bounded(integer, 1, MAX_LEASED, default=1),
    "lease_seconds": lease_seconds_field,
    "wait_seconds": bounded(
        number,
        0,
        86_400,
        default=0,
        description=f"How long to wait for a job, up to {MAX_WAIT_SECONDS} seconds.",
    ),
    "worker": Field(
        _worker,
        {
            **_NAME,
            "maxLength": MAX_NAME,
            "default": UNNAMED,
            "description": "A name to find this worker by; it keeps it.",
        },
    ),
}
ERROR_FIELDS: Mapping[str, Field] = {
    "type": Field(text, {**WITHOUT_NUL, "default": "Error"}),
    "message": Field(text, WITHOUT_NUL),
    "traceback": Field(text, WITHOUT_NUL),
}
HELD_FIELDS: Mapping[str, Field] = {
    "job_id": Field(_job_id, {"type": "string", "format": "uuid"}),
    "fence": bounded(integer, 1, MAX_FENCE),
}
DONE_FIELDS: Mapping[str, Field] = {
    **HELD_FIELDS,
    "result": Field(_result, {"description": "Any JSON; kept byte for byte.", "default": None}),
}
FAILED_FIELDS: Mapping[str, Field] = {
    **HELD_FIELDS,
    "error": Field(
        _error,
        {
            "type": "object",
            "properties": {name: field.schema for name, field in ERROR_FIELDS.items()},
            "additionalProperties": False,
        },
    ),
    "retryable": Field(
        flag,
        {"type": "boolean", "default": True, "description": "False: to the dead letters at once."},
    ),
    "retry_in_seconds": Field(
        optional(_delay),
        {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": conf().max_delay_seconds,
            "description": "Default: the task's backoff.",
        },
    ),
}


MAX_TOLD = 1_000
MAX_LINE_NUMBER = 1_000_000
LINE_FIELDS: Mapping[str, Field] = {
    "message": Field(text, WITHOUT_NUL),
    "level": Field(_level, {"type": "string", "enum": list(LEVELS), "default": "info"}),
    "logger": Field(text, {**WITHOUT_NUL, "default": ""}),
    "at": Field(
        moment, {"type": "string", "format": "date-time", "description": "Default: when it came."}
    ),
}
LOG_FIELDS: Mapping[str, Field] = {
    **HELD_FIELDS,
    "first": bounded(
        integer,
        1,
        MAX_LINE_NUMBER,
        description="The number of the first of these lines among those of the attempt, from 1.",
    ),
    "lines": Field(
        _lines,
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: field.schema for name, field in LINE_FIELDS.items()},
                "required": ["message"],
                "additionalProperties": False,
            },
            "minItems": 1,
            "maxItems": MAX_TOLD,
        },
    ),
}


def read_wish(given: Mapping[str, Any], key: ApiKey) -> Wish:
    """What a worker with this key asks for, by the read fields of its request."""
    return Wish(
        tenant=key.tenant,
        worker=worker_id(key.prefix, given.get("worker", UNNAMED)),
        queues=given.get("queues") or frozenset(key.queues),
        tasks=given.get("tasks", frozenset()),
        tags=given.get("tags", frozenset()),
        max_jobs=given.get("max_jobs", 1),
        lease_seconds=given.get("lease_seconds", conf().lease_seconds),
    )


def read_held(items: Any) -> list[Lease]:
    """The leases of a body. Raises `InvalidInput`, as do the others."""
    return [Lease(one["job_id"], one["fence"]) for one in _read(items, HELD_FIELDS)]


def read_done(items: Any) -> list[Done]:
    """The results of a body."""
    return _of_one_mind(
        [
            Done(one["job_id"], one["fence"], one.get("result", b"null"))
            for one in _read(items, DONE_FIELDS)
        ]
    )


def read_failed(items: Any) -> list[Failed]:
    """The failures of a body."""
    return _of_one_mind([_failed(one) for one in _read(items, FAILED_FIELDS)])


def read_told(items: Any) -> list[Told]:
    """What jobs of a body have logged."""
    return [
        Told(one["job_id"], one["fence"], one["first"], one["lines"])
        for one in _read(items, LOG_FIELDS, required=tuple(LOG_FIELDS))
    ]


def _failed(given: Mapping[str, Any]) -> Failed:
    error = given.get("error", {})
    return Failed(
        given["job_id"],
        given["fence"],
        error_type=error.get("type", "Error"),
        message=error.get("message", ""),
        traceback=error.get("traceback", ""),
        is_retryable=given.get("retryable", True),
        retry_in_seconds=given.get("retry_in_seconds"),
    )


def _read(
    items: Any, fields: Mapping[str, Field], required: Collection[str] = tuple(HELD_FIELDS)
) -> list[dict[str, Any]]:
    """Each item's fields, all of them right, or an error that points at them."""
    if not isinstance(items, list):
        raise InvalidInput("leases must be a list.", code="invalid_type", pointer="leases")
    if not 1 <= len(items) <= MAX_REPORTED:
        raise InvalidInput(
            f"leases must hold 1 to {MAX_REPORTED} items.", code="out_of_range", pointer="leases"
        )
    read = [_item(index, item, fields, required) for index, item in enumerate(items)]
    errors = [error for _, wrong in read for error in wrong]
    if errors:
        raise InvalidFields(errors)
    return [given for given, _ in read]


def _item(
    index: int, item: Any, fields: Mapping[str, Field], required: Collection[str]
) -> tuple[dict[str, Any], list[InvalidInput]]:
    try:
        given, errors = try_fields(item, fields)
    except InvalidInput as error:
        return {}, [_at(index, error)]
    named = {error.pointer.partition("/")[0] for error in errors}
    missing = [
        InvalidInput(f"{name} is missing.", code="missing_field", pointer=name)
        for name in required
        if name not in given and name not in named
    ]
    return given, [_at(index, error) for error in (*errors, *missing)]


def _at(index: int, error: InvalidInput) -> InvalidInput:
    pointer = "/".join(filter(None, ("leases", str(index), error.pointer)))
    return InvalidInput(error.detail, code=error.field_code, pointer=pointer)


def _of_one_mind(reports: list[R]) -> list[R]:
    """The reports. Raises `InvalidFields` if two of them say different things of one lease."""
    first: dict[tuple[uuid.UUID, int], R] = {}
    errors: list[InvalidInput] = [
        InvalidInput(
            "Another outcome of this lease is reported in the same call.",
            code="repeated_job",
            pointer=f"leases/{index}/job_id",
        )
        for index, one in enumerate(reports)
        if first.setdefault((one.job_id, one.fence), one) != one
    ]
    if errors:
        raise InvalidFields(errors)
    return reports
