"""A job's statuses and the one table of moves between them. Pure: no Django, no database.

Every module that asks "may this job go there?" asks here; the store builds its SQL conditions
from this table, so a move that is not listed cannot be written.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """Where a job stands. `FAILED` means: failed, will be retried at `run_at`."""

    SCHEDULED = "SCHEDULED"
    BLOCKED = "BLOCKED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    DONE = "DONE"
    DLQ = "DLQ"
    CANCELLED = "CANCELLED"


class Move(StrEnum):
    """What can happen to a job after it was submitted."""

    CLAIM = "claim"
    ACK = "ack"
    FAIL = "fail"
    BURY = "bury"
    STOP = "stop"
    RELEASE = "release"
    PROMOTE = "promote"
    UNBLOCK = "unblock"
    CANCEL = "cancel"
    RETRY = "retry"
    REDRIVE = "redrive"


class Transition(NamedTuple):
    """The statuses a move may start from, and the one it ends in."""

    sources: frozenset[Status]
    target: Status


INITIAL = frozenset({Status.PENDING, Status.SCHEDULED, Status.BLOCKED})
WAITING = frozenset({Status.PENDING, Status.SCHEDULED, Status.BLOCKED, Status.FAILED})
TERMINAL = frozenset({Status.DONE, Status.DLQ, Status.CANCELLED})
UNUSUAL = (Status.SCHEDULED, Status.BLOCKED, Status.FAILED, Status.DLQ, Status.CANCELLED)
"""What a job that is simply done never passes through: the statuses of the index `job_unusual`."""

TRANSITIONS: Mapping[Move, Transition] = {
    Move.CLAIM: Transition(frozenset({Status.PENDING}), Status.RUNNING),
    Move.ACK: Transition(frozenset({Status.RUNNING}), Status.DONE),
    Move.FAIL: Transition(frozenset({Status.RUNNING}), Status.FAILED),
    Move.BURY: Transition(frozenset({Status.RUNNING}), Status.DLQ),
    Move.STOP: Transition(frozenset({Status.RUNNING}), Status.CANCELLED),
    Move.RELEASE: Transition(frozenset({Status.RUNNING}), Status.PENDING),
    Move.PROMOTE: Transition(frozenset({Status.SCHEDULED, Status.FAILED}), Status.PENDING),
    Move.UNBLOCK: Transition(frozenset({Status.BLOCKED}), Status.PENDING),
    Move.CANCEL: Transition(WAITING, Status.CANCELLED),
    Move.RETRY: Transition(frozenset({Status.FAILED}), Status.PENDING),
    Move.REDRIVE: Transition(frozenset({Status.DLQ}), Status.PENDING),
}


class Reason(StrEnum):
    """Why a job is in the DLQ, or why an attempt ended without a result."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    NOT_RETRYABLE = "not_retryable"
    POISON = "poison"


class BulkAction(StrEnum):
    """What can be done to all jobs that match a filter."""

    CANCEL = "cancel"
    RETRY = "retry"
    REDRIVE = "redrive"
    DISCARD = "discard"


ACTED_ON: Mapping[BulkAction, frozenset[Status]] = {
    BulkAction.CANCEL: WAITING | {Status.RUNNING},
    BulkAction.RETRY: frozenset({Status.FAILED}),
    BulkAction.REDRIVE: frozenset({Status.DLQ}),
    BulkAction.DISCARD: frozenset({Status.DLQ}),
}
"""The statuses in which an action does something to a job."""


class OperationState(StrEnum):
    """Where a bulk action stands."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class WorkerRequest(StrEnum):
    """What a worker process can be asked to do."""

    QUIET = "quiet"
    STOP = "stop"


class AttemptOutcome(StrEnum):
    """How an attempt that did not succeed ended."""

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
