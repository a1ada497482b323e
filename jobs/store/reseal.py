"""What is stored is sealed anew with a tenant's present key, some jobs at a time.

The rows are locked, in the order in which all who write several jobs do it, so whoever ends or
claims one of them waits for milliseconds or passes it by. A job's line goes with its key.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connection

from jobs.data_keys import DataKey
from jobs.encryption import JobSeal, Owner, needs_seal
from jobs.errors import UNREADABLE
from jobs.store.dialect import (
    BY_KEY,
    BY_TENANT,
    array,
    as_uuid,
    fetch,
    find_rows_by_key,
    is_postgresql,
    one_writer,
    scalar,
    sql,
)
from jobs.store.insert import line_with_key

PAGE = 200
MAX_BYTES = 4_000_000
"""So much is opened and sealed while its rows are locked, but for a single larger job."""


class Resealed(NamedTuple):
    """What came of some jobs, by values: sealed anew, or not to be opened. `last` is their last."""

    jobs: int
    values: int
    unreadable: int
    last: uuid.UUID | None


_PAGE = """
SELECT id, length(payload) + coalesce(length(result), 0) FROM jobs_job
WHERE tenant_id = %(tenant)s AND id > %(after)s ORDER BY id LIMIT %(limit)s"""

_LINES_OF = "SELECT DISTINCT line_id FROM jobs_job WHERE id = ANY(%(ids)s)"
_JOBS = """
SELECT id, line_id, payload, result, error_message, request_hash FROM jobs_job
WHERE id = ANY(%(ids)s) ORDER BY id LOCK ROWS"""
_SEAL_JOB = """
UPDATE jobs_job SET line_id = %(line_id)s, payload = %(payload)s, result = %(result)s,
    error_message = %(error_message)s, request_hash = %(request_hash)s
WHERE id = %(id)s"""

_ATTEMPTS = """
SELECT id, job_id, message, traceback FROM jobs_attempt
WHERE job_id = ANY(%(ids)s) AND id > %(after)s ORDER BY id LIMIT %(limit)s"""
_SEAL_ATTEMPT = """
UPDATE jobs_attempt SET message = %(message)s, traceback = %(traceback)s WHERE id = %(id)s"""

_LOG = """
SELECT id, job_id, message FROM jobs_logline
WHERE job_id = ANY(%(ids)s) AND id > %(after)s ORDER BY id LIMIT %(limit)s"""
_SEAL_LOG = "UPDATE jobs_logline SET message = %(message)s WHERE id = %(id)s"

_OTHERS = (
    (_ATTEMPTS, _SEAL_ATTEMPT, {"message": "error_message", "traceback": "traceback"}),
    (_LOG, _SEAL_LOG, {"message": "log"}),
)
"""Rows that belong to jobs, which nobody changes: found, written, and what is sealed as what."""


def reseal(key: DataKey, after: uuid.UUID) -> Resealed:
    """Seal the next jobs of the key's tenant after that id, where they are not yet, with the key.

    `last` of the answer is None at the end of the jobs.
    """
    page = {"tenant": key.tenant_id, "after": scalar(after), "limit": PAGE}
    before = [BY_KEY, BY_TENANT] if is_postgresql() else []
    ids = _light_enough(fetch(_PAGE, page, before=before))
    if not ids:
        return Resealed(0, 0, 0, None)
    pass_ = _Pass(key)
    pass_.seal_jobs(ids)
    pass_.seal_others(ids)
    return Resealed(len(ids), pass_.sealed, pass_.unreadable, ids[-1])


def _light_enough(rows: Sequence[Any]) -> list[uuid.UUID]:
    ids: list[uuid.UUID] = []
    weight = 0
    for job_id, size in rows:
        weight += size
        if ids and weight > MAX_BYTES:
            break
        ids.append(as_uuid(job_id))
    return ids


class _Pass:
    """Seals values with one key, and counts them."""

    def __init__(self, key: DataKey) -> None:
        self._key = key
        self._lines: dict[int, int] = {}
        self.sealed = self.unreadable = 0

    def seal_jobs(self, ids: Sequence[uuid.UUID]) -> None:
        """What the jobs carry themselves; their lines are those of the key then.

        The lines are made before the jobs are locked: who submits makes lines, too, and nobody
        must wait for each other crosswise.
        """
        for (line_id,) in fetch(_LINES_OF, {"ids": array(ids)}):
            self._lines[line_id] = line_with_key(line_id, self._key.id)
        columns = ("payload", "result", "error_message", "request_hash")
        changed = []
        with one_writer():
            find_rows_by_key()
            for job_id, line_id, *values in fetch(_JOBS, {"ids": array(ids)}):
                row = self._row(as_uuid(job_id), dict(zip(columns, columns, strict=True)), values)
                if row is not None and line_id in self._lines:
                    is_ours = not needs_seal(self._key.id, row["payload"])
                    line = self._lines[line_id] if is_ours else line_id
                    changed.append({**row, "id": job_id, "line_id": line})
            _write(_SEAL_JOB, changed)

    def seal_others(self, ids: Sequence[uuid.UUID]) -> None:
        """What their attempts carry, and the lines that these have logged."""
        for find, write, sealed_as in _OTHERS:
            last: int | None = 0
            while last is not None:
                page = {"ids": array(ids), "after": last, "limit": PAGE}
                found = fetch(find, page)
                rows = [(x[0], self._row(as_uuid(x[1]), sealed_as, x[2:])) for x in found]
                with one_writer():
                    _write(write, [{**row, "id": row_id} for row_id, row in rows if row])
                last = found[-1][0] if len(found) == PAGE else None

    def _row(
        self, job_id: uuid.UUID, sealed_as: Mapping[str, str], values: Sequence[Any]
    ) -> dict[str, Any] | None:
        """The values by their names, sealed where they are not yet; None if all of them are."""
        if not any(needs_seal(self._key.id, value) for value in values):
            return None
        seal = JobSeal(self._key, job_id)
        return {
            name: self._sealed(seal, job_id, column, value)
            for (name, column), value in zip(sealed_as.items(), values, strict=True)
        }

    def _sealed(self, seal: JobSeal, job_id: uuid.UUID, column: str, value: Any) -> Any:
        if not needs_seal(self._key.id, value):
            return value
        try:
            anew = seal.reseal(Owner(self._key.tenant_id, job_id), column, value)
        except UNREADABLE:
            self.unreadable += 1
            return value
        self.sealed += 1
        return anew


def _write(statement: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql(statement), rows)
