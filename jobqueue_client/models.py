"""What goes to the queue and what comes back, typed. All of it is read-only.

`raw` is the JSON that was answered, with what a later version of the API may have added. Times are
aware datetimes. Numbers in payloads and results are Python's: a float has 17 digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from threading import Event
from typing import Any, Literal, Self, TypedDict

Status = Literal["SCHEDULED", "BLOCKED", "PENDING", "RUNNING", "FAILED", "DONE", "DLQ", "CANCELLED"]
FINAL: frozenset[str] = frozenset({"DONE", "DLQ", "CANCELLED"})
"""The statuses in which a job has ended."""
Priority = int | Literal["low", "normal", "high"]


class JobOptions(TypedDict, total=False):
    """What a submission may say beside task and payload.

    `run_at` (aware) and `delay_seconds` exclude each other. With an `idempotency_key` of your own
    the same job is found again after your process died, too; otherwise the client makes one.
    """

    queue: str
    priority: Priority
    run_at: datetime
    delay_seconds: float
    max_retries: int
    timeout_seconds: float
    tags: Sequence[str]
    worker_tags: Sequence[str]
    idempotency_key: str


class NewJob(JobOptions, total=False):
    """One job of `submit_many`."""

    task: str
    payload: Any


class RedriveFilters(TypedDict, total=False):
    """Which dead letters to send back."""

    queue: str
    task: str
    error_type: str


class DeadLetterFilters(RedriveFilters, total=False):
    """Which dead letters; `filter` is in the queue's grammar: `error:"timed out" -tag:test`."""

    filter: str


class JobFilters(TypedDict, total=False):
    """Which jobs; `status` is one or several separated by commas.

    `filter` is in the queue's grammar: `status:DLQ,FAILED error:"timed out" created:>2h -tag:test`.
    """

    filter: str
    status: str
    queue: str
    task: str
    tag: str
    created_after: datetime
    created_before: datetime


class _Answer:
    """Reads the fields that it knows; `at` and those that end in `_at` are times."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises `LookupError`, `TypeError` or `ValueError` for what is no such answer."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        given = {name: _value(name, data[name]) for name in known & set(data)}
        return cls(**given, **({"raw": data} if "raw" in known else {}))


@dataclass(frozen=True, kw_only=True)
class ErrorText(_Answer):
    """The error of an attempt or a job."""

    type: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Attempt(_Answer):
    """A run that failed or was lost."""

    number: int
    outcome: str
    error: ErrorText | None
    traceback: str | None
    worker: str
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class LogLine(_Answer):
    """A line that an attempt logged; `number` counts those of its attempt. `at` is by the clock of
    the machine that logged it."""

    id: str
    attempt: int
    number: int
    at: datetime
    level: str
    logger: str
    message: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Job(_Answer):
    """A job. `attempts` are its failed ones, told by `get` and `wait` alone."""

    id: str
    task: str
    queue: str
    status: Status
    priority: int
    payload: Any
    result: Any
    error: ErrorText | None
    reason: str | None
    attempt: int
    max_retries: int
    lost_count: int
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_expires_at: datetime | None
    timeout_seconds: float | None
    tags: Sequence[str]
    worker_tags: Sequence[str]
    idempotency_key: str | None
    cancel_requested: bool
    worker: str | None
    unreadable: str | None = None
    attempts: Sequence[Attempt] = ()
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it has ended, in one way or another."""
        return self.status in FINAL


@dataclass(frozen=True, kw_only=True)
class LeasedJob(Job):
    """A job that is this worker's to run for as long as it keeps the lease.

    `fence` is higher than that of every earlier lease: hand it to systems that can refuse late
    calls. `payload_text` is the payload in JSON, with its numbers as they were sent. Once
    `stopping` is set (the job was cancelled, its time is up, its lease was lost, or the worker
    ends), there is no use in going on: return or raise.
    """

    fence: int
    payload_text: str = field(repr=False)
    stopping: Event = field(default_factory=Event, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Report(_Answer):
    """What the queue says to a heartbeat or an outcome; `code` says why it is not `ok`."""

    job_id: str
    fence: int
    ok: bool
    code: str | None
    detail: str | None
    status: Status | None
    cancel_requested: bool
    lease_expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Gate(_Answer):
    """One thing that a job waits for: `used` of `limit`, or a time."""

    code: str
    text: str
    used: int | None = None
    limit: int | None = None
    opens_at: datetime | None = None
    wait_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation(_Answer):
    """Why a job does not run now; no gates: nothing is in its way."""

    status: Status
    text: str
    gates: Sequence[Gate]
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Queue(_Answer):
    """A queue: `depth` per waiting status, limits (None: none), the age of its oldest job."""

    name: str
    paused: bool
    paused_at: datetime | None = None
    paused_by: str | None = None
    pause_reason: str | None = None
    weight: int
    max_running: int | None
    starts_per_minute: int | None
    depth: Mapping[str, int]
    dead: int
    oldest_waiting_seconds: float | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Figures(_Answer):
    """The tenant's figures: `throughput` by minute, waits and runs as `p50`, `p95`, `p99`."""

    counts: Mapping[str, int]
    throughput: Sequence[Mapping[str, Any]]
    wait_seconds: Mapping[str, float | None]
    run_seconds: Mapping[str, float | None]
    limits: Mapping[str, int | None]
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Redriven(_Answer):
    """Dead letters that were sent back; `more`: others match, too."""

    count: int
    ids: Sequence[str]
    more: bool


_NESTED: Mapping[str, type[_Answer]] = {"error": ErrorText, "attempts": Attempt, "gates": Gate}


def _value(name: str, given: Any) -> Any:
    if given is None:
        return None
    if name == "at" or name.endswith("_at"):
        return datetime.fromisoformat(given)
    if name not in _NESTED:
        return given
    read = _NESTED[name].from_json
    return tuple(map(read, given)) if isinstance(given, list) else read(given)
