"""Every error of the client, one tree, and what a handler raises to steer its job.

No message ever holds a key or a payload.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jobqueue_client.models import Job


class JobQueueError(Exception):
    """Something went wrong between here and the queue."""


class Unreachable(JobQueueError):
    """Nobody answered, or the answer was lost; whether the request was carried out is unknown.

    Submissions and reports of workers are safe to repeat. The cause is httpx's error.
    """


class UnexpectedAnswer(JobQueueError):
    """Whoever answered does not speak the API of the job queue: look at the address."""


class WaitTimeout(JobQueueError, TimeoutError):
    """The job had not ended when the time to wait for it was over. `job` is how it stood then."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        return f"The job {self.job.id} is still {self.job.status}."


class JobNotDone(JobQueueError):
    """The job ended, but not as DONE. `job` is how it ended."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        error = self.job.error
        because = f": {error.type} {error.message}" if error else ""
        return f"The job {self.job.id} is {self.job.status}{because}"


class JobUnreadable(JobQueueError):
    """The job is DONE, and its result cannot be read. `code` says why (docs/errors.md lists it)."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.job = job
        self.code = job.unreadable

    def __str__(self) -> str:
        return f"The result of the job {self.job.id} cannot be read [{self.code}]"


class ApiError(JobQueueError):
    """The queue refused. `code` is stable (docs/errors.md lists them), `detail` is for people.

    `status` is HTTP's. `errors` points at fields of the request. `request_id` finds the request in
    the queue's log. `retry_after_seconds` is None where the queue did not say.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(status, problem, retry_after_seconds)
        self.status = status
        self.code = str(problem.get("code", "error"))
        self.detail = str(problem.get("detail") or f"The queue answered {status}.")
        self.errors: Sequence[Mapping[str, str]] = problem.get("errors", ())
        self.request_id: str | None = problem.get("request_id")
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.detail} [{self.code}, {self.request_id or self.status}]"


class InvalidRequest(ApiError):
    """The request cannot be accepted as it is (400, 405, 411, 413, 415, 422)."""


class NotAuthenticated(ApiError):
    """The key is missing, wrong, revoked or expired (401)."""


class Forbidden(ApiError):
    """The key lacks a scope, or the tenant is switched off (403)."""


class NotFound(ApiError):
    """There is no such thing for this key (404)."""


class Conflict(ApiError):
    """The state of things does not allow it, such as the job's status (409)."""


class LimitReached(ApiError):
    """A limit of the tenant, the key or the address refuses this now (429)."""


class Unavailable(ApiError):
    """The queue, or a proxy before it, cannot do its work at the moment (5xx)."""


_BY_STATUS = {
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: LimitReached,
}


def api_error(status: int, problem: Mapping[str, Any], retry_after: float | None) -> ApiError:
    """The error of the class that fits the status."""
    otherwise = Unavailable if status >= 500 else InvalidRequest
    return _BY_STATUS.get(status, otherwise)(status, problem, retry_after)


class HandlerOutcome(Exception):
    """Raised by a handler of a worker to decide what becomes of its job."""


class Retry(HandlerOutcome):
    """Try again after `after` seconds (default: the queue's backoff). Spends an attempt."""

    def __init__(self, after: float | None = None, message: str = "") -> None:
        if after is not None and not 0 <= after < math.inf:
            raise ValueError(f"after must be a number of seconds from 0 on, not {after!r}")
        super().__init__(message or "the handler asked for a retry")
        self.after = after


class Discard(HandlerOutcome):
    """Give up at once: the job goes to the dead letters without further attempts."""
