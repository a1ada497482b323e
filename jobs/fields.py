"""The fields of a request body: each with what reads it strictly and what documents it.

Nothing is coerced: "1" is not 1, true is not 1, and a field that nobody knows is an error. But 1.0
is 1: JSON has one kind of number, and some languages write all of them so.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.errors import MAX_ERRORS, InvalidFields, InvalidInput
from jobs.instants import example
from jobs.uuid7 import read_id

_RFC3339 = re.compile(
    r"\A(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d{1,6})?\d*([Zz]|[+-]\d\d:\d\d)?\Z", re.ASCII
)
ONE_LINE = r"[^\x00-\x1f\x7f-\x9f]"
"""A character of a text of one line, as patterns of JSON Schema and of Python write it."""
WITHOUT_NUL: Mapping[str, Any] = {"type": "string", "pattern": r"^[^\x00]*$"}
"""The schema of any text: databases keep no NUL, and `exact_json` refuses it."""


@dataclass(frozen=True)
class Field:
    """How one member of a body is read, and its JSON Schema."""

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]


def read_fields(body: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The members of the body by name, read. Raises `InvalidFields` with all that is wrong."""
    given, errors = try_fields(body, fields)
    if errors:
        raise InvalidFields(errors)
    return given


def try_fields(body: Any, fields: Mapping[str, Field]) -> tuple[dict[str, Any], list[InvalidInput]]:
    """The members that can be read, by name, and what is wrong with the others.

    Reading ends where more is wrong than is told: a body can have a million fields.
    """
    if not isinstance(body, dict):
        raise InvalidInput("A JSON object is expected.", code="not_an_object")
    given: dict[str, Any] = {}
    errors: list[InvalidInput] = []
    for name, value in body.items():
        try:
            given[name] = _read(name, value, fields)
        except InvalidInput as error:
            errors.append(error)
            if len(errors) == MAX_ERRORS:
                break
    return given, errors


def _read(name: str, value: Any, fields: Mapping[str, Field]) -> Any:
    if name not in fields:
        raise InvalidInput(
            f"There is no field {name[:50]!r}; known are {', '.join(fields)}.",
            code="unknown_field",
            pointer=pointer_token(name[:50]),
        )
    try:
        return fields[name].read(value)
    except InvalidInput as error:
        pointer = f"{name}/{error.pointer}" if error.pointer else name
        is_sentence = error.detail[:1].isupper()
        detail = f"{name}: {error.detail}" if is_sentence else f"{name} {error.detail}"
        raise InvalidInput(detail, code=error.field_code, pointer=pointer) from None


def pointer_token(name: str) -> str:
    """A member's name as a JSON Pointer (RFC 6901) writes it."""
    return name.replace("~", "~0").replace("/", "~1")


def text(value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise _wrong_type("must be a string.")
    return value


def integer(value: Any) -> int:
    """A whole number."""
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not is_whole or isinstance(value, bool):
        raise _wrong_type("must be an integer.")
    return int(value)


def number(value: Any) -> float:
    """A number; true and false are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type("must be a number.")
    if abs(value) > 1e15:
        raise InvalidInput("is out of range.", code="out_of_range")
    return float(value)


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong_type("must be true or false.")
    return value


def within(read: Callable[[Any], Any], low: float, high: float) -> Callable[[Any], Any]:
    """As `read`, a number, but only from `low` to `high`, both included."""

    def checked(value: Any) -> Any:
        found = read(value)
        if not low <= found <= high:
            raise InvalidInput(
                f"must be from {in_digits(low)} to {in_digits(high)}.", code="out_of_range"
            )
        return found

    return checked


def bounded(
    read: Callable[[Any], Any], low: float, high: float, *, or_null: bool = False, **about: Any
) -> Field:
    """The field of a number within these bounds, which `integer` or `number` reads.

    `about` is what else its schema says.
    """
    kind = "integer" if read is integer else "number"
    schema = {"type": [kind, "null"] if or_null else kind, "minimum": low, "maximum": high, **about}
    checked = within(read, low, high)
    return Field(optional(checked) if or_null else checked, schema)


def in_digits(value: float) -> str:
    """The number as a person writes it: without an exponent, and a fraction only if it has one."""
    return str(int(value)) if value == int(value) else str(value)


def texts(value: Any) -> tuple[str, ...]:
    """A list of strings; repeated ones count once."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong_type("must be a list of strings.")
    return tuple(dict.fromkeys(value))


def ids(value: Any) -> list[uuid.UUID]:
    """A list of job ids."""
    if not isinstance(value, list):
        raise _wrong_type("must be a list of job ids.")
    return [_job_id(item, index) for index, item in enumerate(value)]


def moment(value: Any) -> datetime:
    """An instant as RFC 3339 writes it, with an offset."""
    found = _RFC3339.match(text(value))
    if found is None:
        raise InvalidInput(f"must be a time such as {example()}.", code="invalid_time")
    day_and_time, fraction, offset = found.groups()
    if offset is None:
        raise InvalidInput(f"needs an offset, such as {example()}.", code="timezone_required")
    try:
        offset = offset.upper().replace("Z", "+00:00")
        return datetime.fromisoformat(day_and_time + (fraction or "") + offset).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput("is a time that does not exist.", code="invalid_time") from None


def optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """As `read`, but null is allowed and means that nothing was given."""
    return lambda value: None if value is None else read(value)


def _job_id(value: Any, index: int) -> uuid.UUID:
    try:
        return read_id(text(value))
    except (ValueError, InvalidInput):
        raise InvalidInput("must hold job ids.", code="invalid_id", pointer=str(index)) from None


def _wrong_type(problem: str) -> InvalidInput:
    return InvalidInput(problem, code="invalid_type")
