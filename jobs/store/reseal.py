"""What is stored is sealed anew with a tenant's present key, some jobs at a time.

The rows are locked, in the order in which all who write several jobs do it, so whoever ends or
claims one of them waits for milliseconds or passes it by. A job's line goes with its key.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction

from jobs.data_keys import DataKey
from jobs.encryption import JobSeal, Owner, needs_seal, sealed_beginnings
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
    was_held_up,
)
from jobs.store.insert import line_with_key

PAGE = 200
MAX_BYTES = 4_000_000
"""So much is opened and sealed while its rows are locked, but for a single larger job."""
BYTES, TEXT = 8, 60
"""Within so much of its beginning a sealed value says which key sealed it."""


class Resealed(NamedTuple):
    """What came of some jobs. `last` is the id of their last; None at the end of the jobs.

    Of values: those sealed anew, and those that cannot be opened. `left` are jobs whose line
    somebody else is making, in a transaction that goes on.
    """

    jobs: int
    values: int
    unreadable: int
    left: int
    last: uuid.UUID | None


def _other_bytes(column: str) -> str:
    return f"length({column}) > 0 AND substr({column}, 1, {BYTES}) <> %(bytes)s::bytea"


def _other_text(column: str) -> str:
    return f"{column} <> '' AND substr({column}, 1, {TEXT}) NOT LIKE %(text)s"


_PAGE = f"""
SELECT id, length(payload) + coalesce(length(result), 0),
    {_other_bytes("payload")} OR {_other_bytes("result")}
    OR {_other_text("error_message")} OR {_other_text("request_hash")}
FROM jobs_job WHERE tenant_id = %(tenant)s AND id > %(after)s ORDER BY id LIMIT %(limit)s"""

_COLUMNS = {name: name for name in ("payload", "result", "error_message", "request_hash")}
_LINES_OF = "SELECT DISTINCT line_id FROM jobs_job WHERE id = ANY(%(ids)s)"
_SHORTLY = "SELECT set_config('lock_timeout', '500ms', TRUE)"
_JOBS = """
SELECT id, line_id, payload, result, error_message, request_hash FROM jobs_job
WHERE id = ANY(%(ids)s) ORDER BY id LOCK ROWS"""
_SEAL_JOB = """
UPDATE jobs_job SET line_id = %(line_id)s, payload = %(payload)s, result = %(result)s,
    error_message = %(error_message)s, request_hash = %(request_hash)s
WHERE id = %(id)s"""


class _Others(NamedTuple):
    """Rows that belong to jobs, which nobody changes: found, read, written, what is sealed as what.

    Found by their jobs and read by their ids: in the order of their ids, the planner would rather
    walk through everybody's.
    """

    find: str
    read: str
    write: str
    sealed_as: Mapping[str, str]


_OTHERS = (
    _Others(
        f"""SELECT id FROM jobs_attempt WHERE job_id = ANY(%(ids)s)
        AND ({_other_text("message")} OR {_other_text("traceback")})""",
        """SELECT id, job_id, fence || '', message, traceback FROM jobs_attempt
        WHERE id = ANY(%(ids)s)""",
        """UPDATE jobs_attempt SET message = %(message)s, traceback = %(traceback)s
        WHERE id = %(id)s""",
        {"message": "error_message", "traceback": "traceback"},
    ),
    _Others(
        f"""SELECT id FROM jobs_logline WHERE job_id = ANY(%(ids)s)
        AND ({_other_text("message")})""",
        """SELECT id, job_id, fence || '/' || number, message FROM jobs_logline
        WHERE id = ANY(%(ids)s)""",
        "UPDATE jobs_logline SET message = %(message)s WHERE id = %(id)s",
        {"message": "log"},
    ),
)


def reseal(key: DataKey, after: uuid.UUID) -> Resealed:
    """Seal the next jobs of the key's tenant after that id, where they are not yet, with the key.

    What is sealed already is neither opened nor locked.
    """
    begins = sealed_beginnings(key.id)
    page = {"tenant": key.tenant_id, "after": scalar(after), "limit": PAGE, **begins}
    rows = _light_enough(fetch(_PAGE, page, before=_by_key(BY_TENANT)))
    if not rows:
        return Resealed(0, 0, 0, 0, None)
    ids = [as_uuid(job_id) for job_id, *_ in rows]
    pass_ = _Pass(key)
    pass_.seal_jobs([job_id for job_id, (*_, is_other) in zip(ids, rows, strict=True) if is_other])
    pass_.seal_others(ids)
    return Resealed(len(ids), pass_.sealed, pass_.unreadable, pass_.left, ids[-1])


def _by_key(*more: str) -> list[str]:
    return [BY_KEY, *more] if is_postgresql() else []


def _light_enough(rows: Sequence[Any]) -> list[Any]:
    light: list[Any] = []
    weight = 0
    for row in rows:
        _, size, is_other = row
        weight += size if is_other else 0
        if light and weight > MAX_BYTES:
            break
        light.append(row)
    return light


_MARK = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
_OLDER = """
SELECT count(*) FROM pg_snapshot_xip(pg_current_snapshot()) AS xid
WHERE xid < %(mark)s::text::xid8"""


def transactions_mark() -> str:
    """Marks the transactions that have written by now, for `transactions_before`."""
    if not is_postgresql():  # its one writer wrote the key
        return ""
    ((mark,),) = fetch(_MARK, {})
    return str(mark)


def transactions_before(mark: str) -> int:
    """How many of them go on: jobs that they submit are seen only when they end."""
    if not is_postgresql():
        return 0
    ((count,),) = fetch(_OLDER, {"mark": mark})
    return int(count)


class _Pass:
    """Seals values with one key, and counts them."""

    def __init__(self, key: DataKey) -> None:
        self._key = key
        self._lines: dict[int, int] = {}
        self.sealed = self.unreadable = self.left = 0

    def seal_jobs(self, ids: Sequence[uuid.UUID]) -> None:
        """What the jobs carry themselves; their lines are those of the key then."""
        if not ids:
            return
        self._make_lines(ids)
        changed = []
        with one_writer():
            find_rows_by_key()
            for job_id, line_id, *values in fetch(_JOBS, {"ids": array(ids)}):
                if line_id not in self._lines:
                    self.left += 1
                    continue
                row = self._row(self._owner(job_id), _COLUMNS, values)
                if row is not None:
                    is_ours = not needs_seal(self._key.id, row["payload"])
                    line = self._lines[line_id] if is_ours else line_id
                    changed.append({**row, "id": job_id, "line_id": line})
            _write(_SEAL_JOB, changed)

    def _make_lines(self, ids: Sequence[uuid.UUID]) -> None:
        """Before the jobs are locked, and without waiting long for who is making the same.

        That may be the transaction of somebody who submits a job and then does something else. For
        a lock on jobs held so long, their leases would run out.
        """
        for (line_id,) in fetch(_LINES_OF, {"ids": array(ids)}):
            try:
                with transaction.atomic():
                    if is_postgresql():
                        fetch(_SHORTLY, {})
                    self._lines[line_id] = line_with_key(line_id, self._key.id)
            except OperationalError as error:
                if not was_held_up(error):
                    raise

    def seal_others(self, ids: Sequence[uuid.UUID]) -> None:
        """What their attempts carry, and the lines that these have logged."""
        begins = sealed_beginnings(self._key.id)
        for others in _OTHERS:
            rows = fetch(others.find, {"ids": array(ids), **begins}, before=_by_key())
            found = [row_id for (row_id,) in rows]
            for start in range(0, len(found), PAGE):
                self._seal_some(others, found[start : start + PAGE])

    def _seal_some(self, others: _Others, row_ids: Sequence[int]) -> None:
        rows = fetch(others.read, {"ids": array(row_ids)}, before=_by_key())
        sealed = [
            (row_id, self._row(self._owner(job_id, row), others.sealed_as, values))
            for row_id, job_id, row, *values in rows
        ]
        with one_writer():
            _write(others.write, [{**row, "id": row_id} for row_id, row in sealed if row])

    def _owner(self, job_id: object, row: str = "") -> Owner:
        return Owner(self._key.tenant_id, as_uuid(job_id), row)

    def _row(
        self, owner: Owner, sealed_as: Mapping[str, str], values: Sequence[Any]
    ) -> dict[str, Any] | None:
        """The values by their names, sealed where they are not yet; None if all of them are."""
        if not any(needs_seal(self._key.id, value) for value in values):
            return None
        seal = JobSeal(self._key, owner.job_id)
        return {
            name: self._sealed(seal, owner, column, value)
            for (name, column), value in zip(sealed_as.items(), values, strict=True)
        }

    def _sealed(self, seal: JobSeal, owner: Owner, column: str, value: Any) -> Any:
        if not needs_seal(self._key.id, value):
            return value
        try:
            anew = seal.reseal(owner, column, value)
        except UNREADABLE:
            self.unreadable += 1
            return value
        self.sealed += 1
        return anew


def _write(statement: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql(statement), rows)
