"""What people do to jobs: cancel, retry, redrive, discard."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction

from jobs.data_keys import DataKey
from jobs.encryption import JobSeal
from jobs.statuses import TRANSITIONS, Move, Status
from jobs.store.dialect import array, as_uuid, fetch, scalar, sql, unless_frozen
from jobs.store.insert import line_with_key
from jobs.store.minutes import LaneKey, count_cancelled
from jobs.store.purge import delete

_Row = tuple[Any, ...]


def _sources(move: Move) -> str:
    """The statuses a move may start from, as an SQL list."""
    return ", ".join(f"'{status}'" for status in sorted(TRANSITIONS[move].sources))


# One statement, so that a job cannot slip from waiting to running in between.
_CANCEL = f"""
UPDATE jobs_job SET
    status = CASE WHEN status = '{Status.RUNNING}' THEN status
        ELSE '{TRANSITIONS[Move.CANCEL].target}' END,
    finished_at = CASE WHEN status = '{Status.RUNNING}' THEN NULL ELSE NOW() END,
    cancel_requested = TRUE
WHERE id = ANY(%(ids)s) AND status IN ({_sources(Move.CANCEL)}, '{Status.RUNNING}')
RETURNING id, status, lane_id, tenant_id"""


def cancel(job_ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Cancel what waits; ask the workers to stop what runs. Answers the ids it applied to."""
    with transaction.atomic():
        rows = _move(_CANCEL, job_ids)
        count_cancelled(LaneKey(*of) for _, status, *of in rows if status != Status.RUNNING)
    return _ids(rows)


_RETRY = f"""
UPDATE jobs_job SET status = '{TRANSITIONS[Move.RETRY].target}', run_at = NOW()
WHERE id = ANY(%(ids)s) AND status IN ({_sources(Move.RETRY)})
RETURNING id"""


def retry(job_ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Make failed jobs ready now instead of after their backoff; answers their ids."""
    return _ids(_move(_RETRY, job_ids))


_REDRIVE = f"""
UPDATE jobs_job SET status = '{TRANSITIONS[Move.REDRIVE].target}', run_at = NOW(),
    attempt = 0, lost_count = 0, error_type = '', error_message = '', reason = '',
    cancel_requested = FALSE, started_at = NULL, finished_at = NULL, worker = '',
    payload = coalesce(%(payload)s, payload), line_id = coalesce(%(line)s, line_id)
WHERE id = ANY(%(ids)s) AND status IN ({_sources(Move.REDRIVE)})
    AND (%(line)s IS NOT NULL OR NOT EXISTS (
        SELECT 1 FROM jobs_line AS line JOIN jobs_tenantkey AS key ON key.id = line.key_id
        WHERE line.id = jobs_job.line_id AND key.erased_at IS NOT NULL))
RETURNING id"""


def redrive(job_ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Send dead letters back as if new, but with their history; answers the ids of those.

    Those whose payload was erased stay where they are: they could never run.
    """
    return _ids(_move(_REDRIVE, job_ids, payload=None, line=None))


_LINE = "SELECT line_id FROM jobs_job WHERE id = %(id)s"


def redrive_edited(
    job_id: uuid.UUID, payload: bytes, key: DataKey | None = None
) -> list[uuid.UUID]:
    """Send one back with another payload, sealed with the key if there is one."""
    with transaction.atomic():
        lines = _execute(_LINE, {"id": scalar(job_id)})
        line = line_with_key(lines[0][0], key.id if key else 0) if lines else None
        stored = JobSeal(key, job_id).seal("payload", payload) if key else payload
        return _ids(_move(_REDRIVE, [job_id], payload=stored, line=line))


_DEAD = f"""
SELECT id, lane_id, tenant_id FROM jobs_job
WHERE id = ANY(%(ids)s) AND status = '{Status.DLQ}' LOCK SKIPPING ROWS"""


def discard(job_ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Delete dead letters with all that belongs to them; answers the ids of those."""
    with transaction.atomic():
        rows = fetch(_DEAD, {"ids": array(job_ids)}, before=unless_frozen())
        dead = _ids(rows)
        delete(dead, (LaneKey(*of) for _, *of in rows))
    return dead


_LOCK = "SELECT id FROM jobs_job WHERE id = ANY(%(ids)s) ORDER BY id LOCK ROWS"


def _move(statement: str, job_ids: Iterable[uuid.UUID], **parameters: Any) -> list[_Row]:
    """Move those of the jobs that the statement applies to, locked in the order of their ids.

    A caller's own transaction may not idle for long after it: it holds up who runs the jobs.
    """
    parameters["ids"] = array(job_ids)
    with transaction.atomic():
        fetch(_LOCK, {"ids": parameters["ids"]}, before=unless_frozen())
        return _execute(statement, parameters)


def _execute(statement: str, parameters: dict[str, Any]) -> list[_Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql(statement), parameters)
        return cursor.fetchall()


def _ids(rows: Iterable[_Row]) -> list[uuid.UUID]:
    return [as_uuid(job_id) for job_id, *_ in rows]
