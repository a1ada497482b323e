"""Bulk actions: who takes the next step of an operation, and the step with its counts.

A step is held for a time and has a fence, as a job's lease has: a runner that was away for longer
finds that it may not act any more. What a step does and how far it came is one transaction, so
whoever goes on after a crash begins where the last step ended.
"""

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connection, transaction

from jobs.statuses import BulkAction, OperationState
from jobs.store.control import cancel, discard, redrive, retry
from jobs.store.dialect import as_uuid, fetch, is_postgresql, scalar, sql, unless_frozen

AGAIN_SECONDS = 2.0
"""So soon a runner may take a step again that it holds: its last try failed, or it would not ask.
Others have their turn before, so that one which always fails holds up nobody."""

# What this runner holds is due earlier, by `own`.
_STEP_IN = f"""
SELECT LATER(SECONDS(NOW(), next_at), coalesce(
    SECONDS(NOW(), held_until) - CASE WHEN runner = %(runner)s THEN %(own)s ELSE 0 END, 0
)) AS due_in
FROM jobs_operation WHERE state = '{OperationState.RUNNING}'
ORDER BY due_in LIMIT 1"""


def step_in(runner: str, seconds: float) -> float:
    """Seconds until a step is due: 0 or less if one is, infinity if no operation runs.

    For a runner that holds steps for so long.
    """
    rows = fetch(_STEP_IN, {"runner": runner, "own": _own(seconds)})
    return rows[0][0] if rows else math.inf


def _own(seconds: float) -> float:
    """By how much earlier than others a runner may take what it holds for so long."""
    return max(0.0, seconds - AGAIN_SECONDS)


_ONE_STATE = {True: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", False: "BEGIN"}


@contextmanager
def one_state() -> Iterator[None]:
    """Several reads of one state of the database, so that no job moves from one to the other.

    It holds up nobody. Inside of a transaction the reads are as that has them.
    """
    if connection.in_atomic_block:
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(_ONE_STATE[is_postgresql()])
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


_HOLD = f"""
UPDATE jobs_operation
SET runner = %(runner)s, fence = fence + 1, held_until = IN_SECONDS(%(seconds)s)
WHERE id = (
    SELECT id FROM jobs_operation
    WHERE state = '{OperationState.RUNNING}' AND next_at <= NOW()
        AND (held_until IS NULL OR held_until <= NOW()
            OR (runner = %(runner)s AND held_until <= IN_SECONDS(%(own)s)))
    ORDER BY next_at LIMIT 1 LOCK SKIPPING ROWS
)
RETURNING id, fence"""


class Held(NamedTuple):
    """A step of an operation, for the runner that has its fence."""

    operation_id: uuid.UUID
    fence: int


def hold_operation(runner: str, seconds: float) -> Held | None:
    """Take the step of an operation that is due; nobody else takes one of it for so long.

    None if there is none left.
    """
    held: dict[str, Any] = {"runner": runner, "seconds": seconds, "own": _own(seconds)}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql(_HOLD), held)
        row = cursor.fetchone()
    return Held(as_uuid(row[0]), row[1]) if row else None


_ACTS: Mapping[BulkAction, Callable[[Sequence[uuid.UUID]], list[uuid.UUID]]] = {
    BulkAction.CANCEL: cancel,
    BulkAction.RETRY: retry,
    BulkAction.REDRIVE: redrive,
    BulkAction.DISCARD: discard,
}

_IS_HELD = f"""
SELECT id FROM jobs_operation
WHERE id = %(id)s AND fence = %(fence)s AND state = '{OperationState.RUNNING}' LOCK ROWS"""

_NOTE = """
UPDATE jobs_operation SET matched = matched + %(matched)s, done = done + %(done)s,
    skipped = skipped + %(matched)s - %(done)s, position = coalesce(%(position)s, position),
    next_at = IN_SECONDS(%(pause)s), held_until = NULL, fence = fence + 1
WHERE id = %(id)s"""

_END = f"""
UPDATE jobs_operation SET state = '{OperationState.DONE}', finished_at = NOW()
WHERE id = %(id)s"""

_GIVE_UP = f"""
UPDATE jobs_operation SET state = '{OperationState.FAILED}', finished_at = NOW(),
    reason = %(reason)s, held_until = NULL, fence = fence + 1
WHERE id = %(id)s AND fence = %(fence)s AND state = '{OperationState.RUNNING}'"""


def take_step(
    held: Held,
    action: BulkAction,
    job_ids: Sequence[uuid.UUID],
    *,
    position: uuid.UUID | None,
    seconds_per_job: float,
) -> bool:
    """Act on the jobs, and note how far the operation came; without a position, it has ended.

    Its next step is due after `seconds_per_job` for each job that was acted on. Answers False, and
    does nothing, if the step was taken by somebody else or the operation was cancelled.
    """
    operation = _parameters(held)
    with transaction.atomic(), connection.cursor() as cursor:
        if not fetch(_IS_HELD, operation, before=unless_frozen()):
            return False
        done = len(_ACTS[action](job_ids)) if job_ids else 0
        counts = {"matched": len(job_ids), "done": done, "pause": done * seconds_per_job}
        cursor.execute(sql(_NOTE), operation | counts | {"position": scalar(position)})
        if position is None:
            cursor.execute(sql(_END), operation)
    return True


def give_up(held: Held, reason: str) -> bool:
    """End an operation that no runner can carry out. False if the step is somebody else's."""
    with connection.cursor() as cursor:
        cursor.execute(sql(_GIVE_UP), _parameters(held) | {"reason": reason})
        return cursor.rowcount == 1


def _parameters(held: Held) -> dict[str, Any]:
    return {"id": scalar(held.operation_id), "fence": held.fence}
