"""What a caller hands in to become a job, and what is answered. Ranges are checked here, once."""

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.conf import conf
from jobs.errors import InvalidInput, PayloadTooLarge
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
    idempotency_key: str | None = None
    request_hash: str = ""
    has_args: bool = False

    def __post_init__(self) -> None:
        limits = conf()
        _require_name("queue", self.queue)
        _require_name("task", self.task)
        _require_range("priority", self.priority, MIN_PRIORITY, MAX_PRIORITY)
        _require_range("max_retries", self.max_retries, 0, limits.max_retries_limit)
        if self.timeout_seconds is not None:
            _require_range("timeout_seconds", self.timeout_seconds, 0.1, limits.max_timeout_seconds)
        if self.delay_seconds is not None:
            _require_range("delay_seconds", self.delay_seconds, 0, limits.max_delay_seconds)
        if self.run_at is not None and self.delay_seconds is not None:
            raise InvalidInput("Give run_at or delay_seconds, not both.", pointer="delay_seconds")
        if self.run_at is not None:
            object.__setattr__(self, "run_at", _representable(self.run_at))
        if len(self.payload) > limits.max_payload_bytes:
            raise PayloadTooLarge(f"A payload may have {limits.max_payload_bytes} bytes.")
        if len(self.tags) > limits.max_tags:
            raise InvalidInput(f"A job may have {limits.max_tags} tags.", pointer="tags")
        for tag in self.tags:
            _require_name("tags", tag)
        _require_key(self.idempotency_key)


@dataclass(frozen=True)
class Submitted:
    """The answer for one submitted job: its id, and whether this call made it."""

    job_id: uuid.UUID
    created: bool
    mismatch: bool = False


def _require_name(field: str, value: str) -> None:
    if not _name.match(value):
        raise InvalidInput(
            f"{field} must be 1 to 128 letters, digits, dots, underscores, colons or hyphens.",
            code="invalid_name",
            pointer=field,
        )


def _representable(run_at: datetime) -> datetime:
    """A time that every database and every time zone can show; the past is all the same."""
    if run_at.tzinfo is None:
        raise InvalidInput(
            "run_at needs an offset, such as 2030-01-01T00:00:00Z.",
            code="timezone_required",
            pointer="run_at",
        )
    if run_at >= END_OF_TIME:
        raise InvalidInput("run_at is too far ahead.", code="out_of_range", pointer="run_at")
    return max(run_at, LONG_PAST)


def _require_range(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidInput(
            f"{field} must be from {low:g} to {high:g}.", code="out_of_range", pointer=field
        )


def _require_key(key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidInput(
            "An idempotency key is 1 to 255 printable ASCII characters.", pointer="idempotency_key"
        )
