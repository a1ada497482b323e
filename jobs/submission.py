"""What a caller hands in to become a job, and what is answered. Ranges are checked here, once."""

import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from jobs.conf import conf
from jobs.errors import InvalidFields, InvalidInput, PayloadTooLarge
from jobs.fields import in_digits
from jobs.instants import example
from jobs.models import NAME_PATTERN

MIN_PRIORITY, MAX_PRIORITY = -100, 100
PRIORITY_WORDS = {"low": -50, "normal": 0, "high": 50}
LONG_PAST, END_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_name = re.compile(rf"\A{NAME_PATTERN}\Z")


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be submitted. Raises `InvalidInput` or `PayloadTooLarge` if it cannot be one.

    `payload` is JSON as UTF-8 bytes and is stored as it is. `run_at` (aware) and `delay_seconds`
    exclude each other; a time that has passed means now. `timeout_seconds` of None: the default.
    Only workers that have all of `worker_tags` run it.
    """

    task: str
    payload: bytes = b"null"
    queue: str = "default"
    priority: int = 0
    run_at: datetime | None = None
    delay_seconds: float | None = None
    max_retries: int = 3
    timeout_seconds: float | None = None
    tags: tuple[str, ...] = ()
    worker_tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    request_hash: str = ""
    has_args: bool = False

    def __post_init__(self) -> None:
        _check(*(getattr(self, name) for name in _CHECKED))
        if self.run_at is not None:  # the past is all the same, and not every year can be shown
            object.__setattr__(self, "run_at", max(self.run_at, LONG_PAST))
        if len(self.payload) > conf().max_payload_bytes:
            raise PayloadTooLarge(f"A payload may have {conf().max_payload_bytes} bytes.")


def tags_text(tags: Iterable[str]) -> str:
    """Tags of workers as a job and its line have them: each once, sorted, with commas between."""
    return ",".join(sorted(set(tags)))


def tags_of(text: str) -> list[str]:
    """The tags of such a text."""
    return text.split(",") if text else []


@dataclass(frozen=True)
class Submitted:
    """The answer for one submitted job: its id, and whether this call made it.

    `row` is the row of a job that was made alone, if it was asked for (`jobs/job_rows.py`).
    """

    job_id: uuid.UUID
    created: bool
    mismatch: bool = False
    row: tuple[Any, ...] | None = None


_CHECKED = (
    *("queue", "task", "priority", "max_retries", "timeout_seconds", "delay_seconds", "run_at"),
    *("tags", "worker_tags", "idempotency_key"),
)


@lru_cache(maxsize=1_024)
def _check(*values: Any) -> None:
    """Raise for values that no job can have. Jobs that come in masses are alike: told once."""
    if problems := list(field_problems(dict(zip(_CHECKED, values, strict=True)))):
        raise InvalidFields(problems)


@receiver(setting_changed)
def _check_anew(**kwargs: object) -> None:
    _check.cache_clear()


def field_problems(given: Mapping[str, Any]) -> Iterator[InvalidInput]:
    """What is wrong with fields of the right types; those that are absent or None are not."""
    values = {name: given[name] for name in _CHECKED if given.get(name) is not None}
    allowed = ranges()
    for name, value in values.items():
        if name in {"queue", "task"} and not _name.match(value):
            yield _bad_name(name)
        if name in allowed and not allowed[name][0] <= value <= allowed[name][1]:
            low, high = map(in_digits, allowed[name])
            yield InvalidInput(
                f"{name} must be from {low} to {high}.", code="out_of_range", pointer=name
            )
    if "run_at" in values:
        yield from _problems_of_time(values["run_at"])
    if "run_at" in values and "delay_seconds" in values:
        yield InvalidInput("Give run_at or delay_seconds, not both.", pointer="delay_seconds")
    yield from _problems_of_tags("tags", values.get("tags", ()), conf().max_tags)
    yield from _problems_of_tags(
        "worker_tags", values.get("worker_tags", ()), conf().max_worker_tags
    )
    key = values.get("idempotency_key", "none")
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        yield InvalidInput(
            "An idempotency key is 1 to 255 printable ASCII characters.", pointer="idempotency_key"
        )


def _problems_of_tags(field: str, tags: Collection[str], most: int) -> Iterator[InvalidInput]:
    if len(tags) > most:
        yield InvalidInput(f"A job may have {most} {field.replace('_', ' ')}.", pointer=field)
    elif not all(_name.match(tag) for tag in tags):
        yield _bad_name(field)


def ranges() -> Mapping[str, tuple[float, float]]:
    """The smallest and the largest value of each field that is a number."""
    limits = conf()
    return {
        "priority": (MIN_PRIORITY, MAX_PRIORITY),
        "max_retries": (0, limits.max_retries_limit),
        "timeout_seconds": (0.1, limits.max_timeout_seconds),
        "delay_seconds": (0, limits.max_delay_seconds),
    }


def _bad_name(field: str) -> InvalidInput:
    return InvalidInput(
        f"{field} must be a letter or digit, and up to 127 more or dots, underscores, colons or "
        "hyphens.",
        code="invalid_name",
        pointer=field,
    )


def _problems_of_time(run_at: datetime) -> Iterator[InvalidInput]:
    """Whether every database and every time zone can show it."""
    if run_at.tzinfo is None:
        yield InvalidInput(
            f"run_at needs an offset, such as {example()}.",
            code="timezone_required",
            pointer="run_at",
        )
    elif run_at >= END_OF_TIME:
        yield InvalidInput("run_at is too far ahead.", code="out_of_range", pointer="run_at")
