"""Every error of the project, one tree. An error owns its message, its `code` and its HTTP status.

What a task raises to steer its job is at the end: `Retry`, `Discard` and `Cancel`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

MAX_ERRORS = 10
"""So many fields are reported at once."""

INVALID: Mapping[str, str] = {
    "malformed_json": "The body is not JSON.",
    "not_an_object": "The body is JSON, but not an object.",
    "invalid_unicode": "Not UTF-8, or half of a surrogate pair.",
    "nul_character": "A string holds a NUL, which databases cannot store.",
    "invalid_number": "NaN, Infinity, a number beyond a double's range, or too many digits.",
    "duplicate_key": "An object has a key twice.",
    "too_deep": "A payload is nested deeper than 64 levels.",
    "too_many_items": "More lists, objects or members than can be read in a short time.",
    "unknown_field": "The body has a field that does not exist.",
    "unknown_parameter": "The query has a parameter that does not exist.",
    "invalid_parameter": "A parameter is given twice or is not text.",
    "invalid_type": "Another JSON type than the field has.",
    "invalid_choice": "Not one of the words that the field knows.",
    "invalid_name": "Not a letter or digit and up to 127 more or any of `._:-`.",
    "invalid_id": "Not a job id.",
    "out_of_range": "Too small, too large, too early, too late, or a list without an item.",
    "invalid_time": "Not an RFC 3339 time, or one that does not exist.",
    "timezone_required": "A time without an offset.",
    "invalid_cursor": "The cursor is not one of this list.",
    "unknown_word": "A filter has a word that does not exist; `detail` names the nearest.",
    "invalid_filter": "A filter cannot be read, is too long, or compares what has no order.",
    "more_than_limit": "More jobs at once than the tenant may submit in 60 seconds.",
    "too_many_queues": "The tenant has as many queues as it may.",
    "too_many_lines": "The tenant has as many combinations of queue, task and tags as it may.",
    "too_many_limits": "The tenant has limits for as many tasks as it may.",
    "too_many_keys": "The tenant has as many keys that work as it may.",
    "invalid_payload": "The task cannot take this payload.",
    "missing_field": "A field that has to be there is not.",
    "repeated_job": "Two outcomes of one lease are reported in one call.",
    "too_many_workers": "The tenant's workers have as many names as they may.",
}
"""The codes with which `InvalidInput` says more exactly what is wrong, and what each means."""

FULL = frozenset(
    (
        *("more_than_limit", "too_many_queues", "too_many_lines"),
        *("too_many_limits", "too_many_keys", "too_many_workers"),
    )
)
"""Those of what would be right if the tenant had or might have more: a conflict, and no mistake."""


class JobQueueError(Exception):
    """Something the caller can act on. `code` is stable, the text is for people."""

    code: ClassVar[str] = "error"
    status: int = 400

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


def status_of(code: str, otherwise: int = 400) -> int:
    """The HTTP status of an invalid input with that code."""
    return 409 if code in FULL else otherwise


class InvalidInput(JobQueueError):
    """The request cannot be accepted as it is. `errors` says which field and why."""

    code = "invalid_input"

    def __init__(self, detail: str, *, code: str | None = None, pointer: str = "") -> None:
        super().__init__(detail)
        self.field_code = code or self.code
        self.status = status_of(self.field_code, self.status)
        self.pointer = pointer


class InvalidFields(InvalidInput):
    """Something is wrong with one or more fields; `errors` holds the first ten on their own."""

    def __init__(self, errors: Sequence[InvalidInput]) -> None:
        self.errors = errors[:MAX_ERRORS]
        codes = {error.field_code for error in self.errors}
        super().__init__(
            " ".join(dict.fromkeys(error.detail for error in self.errors)),
            code=codes.pop() if len(codes) == 1 else None,
            pointer=self.errors[0].pointer,
        )


class PayloadTooLarge(JobQueueError):
    """A body, payload or result is larger than the limit."""

    code = "too_large"
    status = 413


class LengthRequired(JobQueueError):
    """A body came in pieces, without its length: not every server can read that."""

    code = "length_required"
    status = 411


class UnknownTask(InvalidInput):
    """No task of that name may be called this way."""

    code = "unknown_task"


class JobNotFound(JobQueueError):
    """There is no such job for this caller: absent and a stranger's look the same."""

    code = "not_found"
    status = 404


class QueueNotFound(JobQueueError):
    """The tenant has no queue of that name."""

    code = "not_found"
    status = 404

    def __init__(self, slug: str, queue: str) -> None:
        super().__init__(
            f"The tenant {slug!r} has no queue {queue!r}; a queue comes with its first job."
        )


class KeyNotFound(JobQueueError):
    """There is no such key for this caller."""

    code = "not_found"
    status = 404


class KeyEnded(JobQueueError):
    """The key is revoked or has expired already."""

    code = "key_ended"
    status = 409


class AlreadyRotated(JobQueueError):
    """The key was rotated before, and the key that takes its place is in use."""

    code = "already_rotated"
    status = 409


class OwnKey(JobQueueError):
    """The key would revoke itself, and the request does not say that this is meant."""

    code = "own_key"
    status = 409


class AboveCeiling(InvalidInput):
    """Above what the operator of the installation has set for the tenant."""

    code = "above_ceiling"
    status = 403


class TaskLimitNotFound(JobQueueError):
    """The tenant has no limit for that task."""

    code = "not_found"
    status = 404


class QueueNotAllowed(JobQueueError):
    """The key is limited to other queues."""

    code = "queue_not_allowed"
    status = 403


class OperationNotFound(JobQueueError):
    """There is no such operation for this caller."""

    code = "not_found"
    status = 404


class TooManyOperations(JobQueueError):
    """The tenant has as many operations running as it may."""

    code = "too_many_operations"
    status = 409


class StatusConflict(JobQueueError):
    """The job's status does not allow the action."""

    code = "status_conflict"
    status = 409


class TryAgain(JobQueueError):
    """Something was deleted at the same moment; the same request will do."""

    code = "try_again"
    status = 409


class EncryptionKeyMissing(JobQueueError):
    """The tenant's encryption key cannot be opened here, as the environment lacks what does."""

    code = "encryption_key_missing"
    status = 503


class EncryptionKeyErased(JobQueueError):
    """The tenant's encryption key was erased, and with it all that it sealed."""

    code = "encryption_key_erased"
    status = 409


class SealBroken(Exception):
    """A stored value was changed, or moved here from another place."""

    code: ClassVar[str] = "seal_broken"


UNREADABLE = (EncryptionKeyMissing, EncryptionKeyErased, SealBroken)
"""What keeps a stored value from being read."""


class IdempotencyMismatch(JobQueueError):
    """The idempotency key was used before with another request."""

    code = "idempotency_mismatch"
    status = 422


class ForeignTenant(JobQueueError):
    """The request names another tenant than that of its key."""

    code = "foreign_tenant"
    status = 403


class InsufficientScope(JobQueueError):
    """The key is not allowed to do this."""

    code = "insufficient_scope"
    status = 403


class TenantInactive(JobQueueError):
    """The tenant is switched off, or gone."""

    code = "tenant_inactive"
    status = 403


class TooManyRequests(JobQueueError):
    """A limit of the tenant refuses this now. `retry_after` is in whole seconds.

    `policy` is what the `RateLimit` headers call the limit, `window` its length in seconds.
    """

    code = "rate_limited"
    status = 429
    policy: ClassVar[str] = "submissions"
    window: ClassVar[int | None] = 60

    def __init__(self, detail: str, *, retry_after: int, limit: int) -> None:
        super().__init__(detail, limit=limit)
        self.retry_after = retry_after
        self.limit = limit


class QueueFull(TooManyRequests):
    """The tenant has as many waiting jobs as it may."""

    code = "queue_full"
    policy = "waiting-jobs"
    window = None


class TooManyFailures(TooManyRequests):
    """Too many wrong keys came from one address."""

    code = "too_many_failures"
    policy = "authentication-failures"


class TooManyCalls(TooManyRequests):
    """One key called too often."""

    code = "too_many_calls"
    policy = "calls"


class TooManyHeld(TooManyRequests):
    """The tenant has as many answers waiting as it may."""

    code = "too_many_held"
    policy = "held-answers"
    window = None


class TooManyExports(TooManyRequests):
    """The tenant reads as many exports as it may from one process."""

    code = "too_many_exports"
    policy = "exports"
    window = None


class TaskOutcome(Exception):
    """Raised by a task to decide what becomes of its job."""


class Retry(TaskOutcome):
    """Try again after `after` seconds (default: the task's backoff). Spends an attempt."""

    def __init__(self, after: float | None = None, message: str = "") -> None:
        super().__init__(message or "the task asked for a retry")
        self.after = None if after is None else float(after)


class Discard(TaskOutcome):
    """Give up at once: the job goes to the DLQ without further attempts."""


class Cancel(TaskOutcome):
    """End the job as CANCELLED: it is no longer wanted."""


class StopRequest(BaseException):
    """Raised by the engine inside a task that has to stop.

    Not an `Exception`, as `asyncio.CancelledError` is not: a task's `except Exception` must not
    swallow it.
    """

    def __str__(self) -> str:
        return super().__str__() or str(type(self).__doc__)


class JobTimeout(StopRequest):
    """The job's time was up."""


class JobStopped(StopRequest):
    """The job was cancelled, its lease was lost, or its worker shuts down."""
