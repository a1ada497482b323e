"""Outcomes are recorded, in batches, under their fences."""

import copy
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from jobs.conf import conf
from jobs.data_keys import DataKey
from jobs.encryption import JobSeal
from jobs.fingerprint import SEALED
from jobs.statuses import TRANSITIONS, AttemptOutcome, Move, Reason, Status
from jobs.store.dialect import (
    BY_KEY,
    Query,
    Rows,
    array_of_bytes,
    array_of_numbers,
    array_of_seconds,
    array_of_uuids,
    as_uuid,
    fetch,
    fetch_all,
    find_rows_by_key,
    is_postgresql,
    one_writer,
    scalar,
    sql,
)
from jobs.store.minutes import ADD_TO_MINUTE, MINUTE_COLUMNS, LaneKey, count_minutes, shard

ENDINGS = {TRANSITIONS[move].target for move in (Move.ACK, Move.FAIL, Move.BURY, Move.STOP)}
"""The statuses an attempt may end in."""

MAX_ERROR_TYPE = 200


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one attempt, decided as a value before anything is written.

    `attempt_outcome` is None for an attempt that leaves no row in the attempts: it succeeded or was
    cancelled. `retry_in` is the wait in seconds before the next attempt of a FAILED job. Texts
    of errors are made storable and waits possible, whoever they come from: one odd error must not
    keep the others of its batch from being recorded.
    """

    job_id: uuid.UUID
    fence: int
    lane_id: int
    tenant_id: int
    status: Status
    result: bytes | None = None
    attempt_outcome: AttemptOutcome | None = None
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    reason: Reason | None = None
    retry_in: float = 0
    waited_seconds: float = 0
    ran_seconds: float = 0

    def __post_init__(self) -> None:
        if self.status is Status.DONE:
            return
        if self.status not in ENDINGS:
            raise ValueError(f"An attempt cannot end in {self.status}.")
        longest = conf().max_delay_seconds
        possible = {
            "error_type": storable(self.error_type)[:MAX_ERROR_TYPE],
            "error_message": storable(self.error_message)[: conf().max_error_message],
            "traceback": storable(self.traceback)[-conf().max_traceback :],
            # In this order of arguments, NaN becomes 0.
            "retry_in": float(min(max(0, self.retry_in), longest)),
        }
        for name, value in possible.items():
            setattr(self, name, value)

    def sealed(self, key: DataKey) -> "Outcome":
        """The outcome as it is stored for a tenant with this key."""
        stored, seal = copy.copy(self), JobSeal(key, self.job_id)
        if self.result is not None:
            stored.result = seal.seal("result", self.result)
        stored.error_message = seal.seal_error(self.error_message)
        stored.traceback = seal.seal_text("traceback", self.traceback, row=str(self.fence))
        return stored


def storable(text: str) -> str:
    """The text without NUL, which PostgreSQL cannot keep, and without halves of surrogates.

    Nor does it, or any part of it, begin as an encrypted one.
    """
    text = text.replace(SEALED, "\ufffd").replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode()


# A failed attempt of a job whose cancellation was asked for is its last.
_ENDED = f"""
    status = CASE WHEN ended.status = '{Status.FAILED}' AND jobs_job.cancel_requested
        THEN '{Status.CANCELLED}' ELSE ended.status END,
    result = ended.result, error_type = ended.error_type, error_message = ended.error_message,
    reason = ended.reason, lost_count = jobs_job.lost_count + ended.lost,
    run_at = CASE WHEN ended.status = '{Status.FAILED}'
        THEN IN_SECONDS(ended.retry_in) ELSE jobs_job.run_at END,
    finished_at = CASE WHEN ended.status = '{Status.FAILED}' AND NOT jobs_job.cancel_requested
        THEN NULL ELSE NOW() END,
    lease_expires_at = NULL"""

# The row is found by its primary key. With a plain condition on the status the planner may go
# through the small index of running jobs instead, which gets slow as that index churns.
_FENCED = f"""
    jobs_job.id = ended.id AND jobs_job.fence = ended.fence
    AND jobs_job.status || '' = '{Status.RUNNING}'"""

_FINISH_POSTGRESQL = f"""
UPDATE jobs_job SET {_ENDED}
FROM unnest(
    %(id)s::uuid[], %(fence)s::bigint[], %(status)s::text[], %(result)s::bytea[],
    %(error_type)s::text[], %(error_message)s::text[], %(reason)s::text[], %(lost)s::int[],
    %(retry_in)s::float8[]
) AS ended (id, fence, status, result, error_type, error_message, reason, lost, retry_in)
WHERE {_FENCED}
RETURNING jobs_job.id, jobs_job.fence, jobs_job.status"""

_FINISH_SQLITE = f"""
UPDATE jobs_job SET {_ENDED}
FROM (
    SELECT %(id)s AS id, %(fence)s AS fence, %(status)s AS status, %(result)s AS result,
        %(error_type)s AS error_type, %(error_message)s AS error_message, %(reason)s AS reason,
        %(lost)s AS lost, %(retry_in)s AS retry_in
) AS ended
WHERE {_FENCED}
RETURNING id, jobs_job.fence, jobs_job.status"""


def finish(worker: str, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    """Record the outcomes whose fence is current; answers the ids of those.

    For the others the lease was lost before and nothing is written. Repeating a call that was
    committed, because its answer got lost, changes nothing. Of two outcomes of one attempt the
    first holds.
    """
    firsts = in_order_of_locking(outcomes)
    done = [outcome for outcome in firsts if outcome.status is Status.DONE]
    rest = [outcome for outcome in firsts if outcome.status is not Status.DONE]
    return _finish_done(worker, done) | _finish_any(worker, rest)


_Attempt = tuple[int, int]


def _attempt(outcome: Outcome) -> _Attempt:
    return outcome.job_id.int, outcome.fence


def in_order_of_locking(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The first outcome of each attempt, by job: all who lock several jobs do so in that order."""
    firsts = {_attempt(outcome): outcome for outcome in reversed(outcomes)}
    return [firsts[attempt] for attempt in sorted(firsts)]


_GIVEN_FENCED = f"""
    jobs_job.id = given.id AND jobs_job.fence = given.fence
    AND jobs_job.status || '' = '{Status.RUNNING}'"""

# What nearly all jobs take: one round trip and one commit for a batch, counted on the way.
_FINISH_DONE = f"""
WITH ended AS (
    UPDATE jobs_job SET status = '{Status.DONE}', result = given.result, error_type = '',
        error_message = '', reason = '', finished_at = clock_timestamp(), lease_expires_at = NULL
    FROM unnest(
        %(id)s::uuid[], %(fence)s::bigint[], %(result)s::bytea[], %(waited)s::float8[],
        %(ran)s::float8[]
    ) WITH ORDINALITY AS given (id, fence, result, waited, ran, place)
    WHERE {_GIVEN_FENCED}
    RETURNING jobs_job.lane_id, jobs_job.tenant_id, given.waited, given.ran, given.place
),
counted AS (
    INSERT INTO jobs_laneminute AS counter ({MINUTE_COLUMNS})
    SELECT lane_id, tenant_id, date_trunc('minute', clock_timestamp()), %(shard)s, count(*), 0, 0,
        0, count(*), sum(waited), max(waited), sum(ran)
    FROM ended GROUP BY lane_id, tenant_id ORDER BY lane_id
    {ADD_TO_MINUTE}
)
SELECT place FROM ended"""


def _finish_done(worker: str, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    if not outcomes:
        return set()
    if not is_postgresql():
        return _finish_done_sqlite(worker, outcomes)
    return done_of(fetch_all([(BY_KEY, {}), done(worker, outcomes)])[-1], outcomes)


def done(worker: str, outcomes: Sequence[Outcome]) -> Query:
    """What records successes on PostgreSQL; `done_of` reads its rows."""
    columns = {
        "id": array_of_uuids(outcome.job_id for outcome in outcomes),
        "fence": array_of_numbers(outcome.fence for outcome in outcomes),
        "result": array_of_bytes(outcome.result for outcome in outcomes),
        "waited": array_of_seconds(outcome.waited_seconds for outcome in outcomes),
        "ran": array_of_seconds(outcome.ran_seconds for outcome in outcomes),
        "shard": shard(worker),
    }
    return _FINISH_DONE, columns


def done_of(places: Rows, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    """The jobs whose fence was current, of those given to `done`."""
    return {outcomes[place - 1].job_id for (place,) in places}


_FINISH_DONE_SQLITE = f"""
UPDATE jobs_job SET status = '{Status.DONE}', result = given.result, error_type = '',
    error_message = '', reason = '', finished_at = NOW(), lease_expires_at = NULL
FROM (
    SELECT column1 AS id, column2 AS fence, column3 AS result FROM (VALUES GIVEN)
) AS given
WHERE {_GIVEN_FENCED}"""
_AT_ONCE = 1_000
"""SQLite takes 32,766 parameters."""


def _finish_done_sqlite(worker: str, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    """All or none; if one was lost, they are asked one by one."""
    ended = {_attempt(outcome): Status.DONE for outcome in outcomes}
    parts = [outcomes[at : at + _AT_ONCE] for at in range(0, len(outcomes), _AT_ONCE)]
    with one_writer():
        if are_all := sum(map(_set_done, parts)) == len(outcomes):
            count_minutes(worker, _by_lane(outcomes, ended))
        else:
            transaction.set_rollback(True)
    return {x.job_id for x in outcomes} if are_all else _finish_any(worker, outcomes)


def _set_done(outcomes: Sequence[Outcome]) -> int:
    """In one statement: after each, this thread would wait for the interpreter anew."""
    given = ", ".join(["(%s, %s, %s)"] * len(outcomes))
    values = [value for x in outcomes for value in (x.job_id.hex, x.fence, x.result)]
    with connection.cursor() as cursor:
        cursor.execute(sql(_FINISH_DONE_SQLITE).replace("GIVEN", given), values)
        return cursor.rowcount


def _finish_any(worker: str, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    if not outcomes:
        return set()
    with one_writer():
        find_rows_by_key()
        ended = _finish(outcomes)
        recorded = [outcome for outcome in outcomes if _attempt(outcome) in ended]
        _insert_attempts(recorded)
        count_minutes(worker, _by_lane(recorded, ended))
    return {outcome.job_id for outcome in recorded}


def _finish(outcomes: Sequence[Outcome]) -> dict[_Attempt, Status]:
    rows = [_values(outcome) for outcome in outcomes]
    if is_postgresql():
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        ended = fetch(_FINISH_POSTGRESQL, columns)
    else:
        ended = [one for row in rows for one in fetch(_FINISH_SQLITE, row)]
    return {(as_uuid(job_id).int, fence): Status(status) for job_id, fence, status in ended}


def _values(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": scalar(outcome.job_id),
        "fence": outcome.fence,
        "status": outcome.status.value,
        "result": outcome.result,
        "error_type": outcome.error_type,
        "error_message": outcome.error_message,
        "reason": outcome.reason.value if outcome.reason else "",
        "lost": int(outcome.attempt_outcome is AttemptOutcome.LOST),
        "retry_in": outcome.retry_in,
    }


# Runs after the update and in its transaction: the row still has the attempt's number and times.
_INSERT_ATTEMPT = """
INSERT INTO jobs_attempt (job_id, number, fence, outcome, error_type, message, traceback, worker,
    started_at, finished_at)
SELECT id, attempt, fence, %(outcome)s, %(error_type)s, %(message)s, %(traceback)s, worker,
    started_at, NOW()
FROM jobs_job WHERE id = %(id)s"""


def _insert_attempts(outcomes: Sequence[Outcome]) -> None:
    rows = [
        {
            "id": scalar(outcome.job_id),
            "outcome": outcome.attempt_outcome.value,
            "error_type": outcome.error_type,
            "message": outcome.error_message,
            "traceback": outcome.traceback,
        }
        for outcome in outcomes
        if outcome.attempt_outcome
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql(_INSERT_ATTEMPT), rows)


def _by_lane(
    outcomes: Sequence[Outcome], ended: Mapping[_Attempt, Status]
) -> dict[LaneKey, dict[str, float]]:
    lanes: dict[LaneKey, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        lanes[LaneKey(outcome.lane_id, outcome.tenant_id)].append(outcome)
    return {key: _figures(of_lane, ended) for key, of_lane in lanes.items()}


def _figures(outcomes: Sequence[Outcome], ended: Mapping[_Attempt, Status]) -> dict[str, float]:
    statuses = [ended[_attempt(outcome)] for outcome in outcomes]
    return {
        "done": statuses.count(Status.DONE),
        "failed": statuses.count(Status.FAILED),
        "dead": statuses.count(Status.DLQ),
        "cancelled": statuses.count(Status.CANCELLED),
        "started": len(outcomes),
        "wait": sum(outcome.waited_seconds for outcome in outcomes),
        "max_wait": max(outcome.waited_seconds for outcome in outcomes),
        "run": sum(outcome.ran_seconds for outcome in outcomes),
    }
