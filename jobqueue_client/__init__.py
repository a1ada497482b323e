"""A client of the job queue for Python: submit jobs, wait for them, look after them, run them.

Needs httpx and nothing else. `python -m jobqueue_client --help` is the same for a shell.
docs/client.md shows how it is used.
"""

from jobqueue_client.async_client import AsyncClient
from jobqueue_client.client import Client
from jobqueue_client.connection import VERSION as __version__
from jobqueue_client.errors import (
    ApiError,
    Conflict,
    Discard,
    Forbidden,
    InvalidRequest,
    JobNotDone,
    JobQueueError,
    JobUnreadable,
    LimitReached,
    NotAuthenticated,
    NotFound,
    Retry,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)
from jobqueue_client.models import (
    Attempt,
    ErrorText,
    Explanation,
    Figures,
    Gate,
    Job,
    JobOptions,
    LeasedJob,
    LogLine,
    NewJob,
    Queue,
    Redriven,
)
from jobqueue_client.protocol import Json
from jobqueue_client.worker import Worker

__all__ = [
    "ApiError",
    "AsyncClient",
    "Attempt",
    "Client",
    "Conflict",
    "Discard",
    "ErrorText",
    "Explanation",
    "Figures",
    "Forbidden",
    "Gate",
    "InvalidRequest",
    "Job",
    "JobNotDone",
    "JobOptions",
    "JobQueueError",
    "JobUnreadable",
    "Json",
    "LeasedJob",
    "LimitReached",
    "LogLine",
    "NewJob",
    "NotAuthenticated",
    "NotFound",
    "Queue",
    "Redriven",
    "Retry",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitTimeout",
    "Worker",
    "__version__",
]
