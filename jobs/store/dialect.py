"""What differs between PostgreSQL and SQLite, and nothing else.

`sql()` turns these tokens of a statement into the words of the database in use:

    NOW()                the time, by the database's clock
    STATEMENT_TIME()     the time at which the statement began: the same for all of its rows
    LATER(a, b)          the later of two times
    MINUTE()             the minute that NOW() is in
    MINUTE_OF(x)         the minute that the time in x seconds is in
    MINUTE_AT(x)         the minute that begins x seconds after 1970 did
    EPOCH()              whole seconds since 1970
    IN_SECONDS(x)        the time in x seconds
    SECONDS(a, b)        seconds from a to b
    MOMENT()             NOW() in seconds since 1970, with a fraction
    MICROSECONDS(a)      the time a in whole microseconds since 1970
    TIME_OF(x)           the time in so many microseconds since 1970; PostgreSQL only
    = ANY(x)             membership in an `array()` parameter
    ELEMENTS(x)          the elements of a JSON array as rows, each as `value`
    ELEMENT(x, n)        one element of a JSON array, from 0
    LOCK ROWS            row locks; SQLite has one writer at a time
    LOCK SKIPPING ROWS   row locks that pass over locked rows and do not mind foreign keys to them
    ::type               for PostgreSQL, the type of a parameter
    HAD_TIME(a, x)       whether the server has been up since the time a, or for x seconds
"""

import json
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus

from jobs.statuses import UNUSUAL

_ARGUMENT = r"([^(),]+(?:\([^()]*\)[^(),]*)?)"
_IN_SECONDS = re.compile(rf"IN_SECONDS\({_ARGUMENT}\)")
_SECONDS = re.compile(rf"\bSECONDS\({_ARGUMENT}, {_ARGUMENT}\)")
_MICROSECONDS = re.compile(rf"MICROSECONDS\({_ARGUMENT}\)")
_TIME_OF = re.compile(rf"TIME_OF\({_ARGUMENT}\)")
_MINUTE_OF = re.compile(rf"MINUTE_OF\({_ARGUMENT}\)")
_MINUTE_AT = re.compile(rf"MINUTE_AT\({_ARGUMENT}\)")
_ELEMENTS = re.compile(rf"ELEMENTS\({_ARGUMENT}\)")
_ELEMENT = re.compile(rf"ELEMENT\({_ARGUMENT}, (\d+)\)")
_ANY = re.compile(rf"= ANY\({_ARGUMENT}\)")
_HAD_TIME = re.compile(rf"HAD_TIME\({_ARGUMENT}, {_ARGUMENT}\)")
_TYPE = re.compile(r"::[a-z]+[0-9]*")
_SQLITE_TIME = "'%%Y-%%m-%%d %%H:%%M:%%f', 'now'"


def is_postgresql() -> bool:
    """Whether the database in use is PostgreSQL; otherwise it is SQLite."""
    return connection.vendor == "postgresql"


def sql(statement: str) -> str:
    """The statement in the words of the database in use."""
    return _postgresql(statement) if is_postgresql() else _sqlite(statement)


@lru_cache(maxsize=256)
def _postgresql(statement: str) -> str:
    statement = _IN_SECONDS.sub(r"clock_timestamp() + make_interval(secs => \1)", statement)
    statement = _SECONDS.sub(r"extract(epoch FROM \2 - \1)::float8", statement)
    statement = _MINUTE_OF.sub(
        r"date_trunc('minute', clock_timestamp() + make_interval(secs => \1))", statement
    )
    statement = _MINUTE_AT.sub(r"to_timestamp(\1)", statement)
    statement = _ELEMENTS.sub(r"json_array_elements(\1::json)", statement)
    statement = _ELEMENT.sub(r"(\1 ->> \2)", statement)
    statement = _MICROSECONDS.sub(r"(extract(epoch FROM \1) * 1000000)::bigint", statement)
    statement = _TIME_OF.sub(r"('epoch'::timestamptz + \1 * interval '1 microsecond')", statement)
    statement = _HAD_TIME.sub(
        r"(\1 > pg_postmaster_start_time()"
        r" OR clock_timestamp() - pg_postmaster_start_time() > make_interval(secs => \2))",
        statement,
    )
    return (
        statement.replace("NOW()", "clock_timestamp()")
        .replace("LATER(", "greatest(")
        .replace("STATEMENT_TIME()", "statement_timestamp()")
        .replace("MINUTE()", "date_trunc('minute', clock_timestamp())")
        .replace("EPOCH()", "floor(extract(epoch FROM clock_timestamp()))::bigint")
        .replace("MOMENT()", "extract(epoch FROM clock_timestamp())::float8")
        .replace("LOCK SKIPPING ROWS", "FOR NO KEY UPDATE SKIP LOCKED")
        .replace("LOCK ROWS", "FOR UPDATE")
    )


@lru_cache(maxsize=256)
def _sqlite(statement: str) -> str:
    statement = _IN_SECONDS.sub(rf"strftime({_SQLITE_TIME}, (\1) || ' seconds')", statement)
    statement = _SECONDS.sub(r"(julianday(\2) - julianday(\1)) * 86400", statement)
    statement = _MICROSECONDS.sub(
        r"(CAST(strftime('%%s', \1) AS INTEGER) * 1000000"
        r" + CAST(substr(\1 || '000000', 21, 6) AS INTEGER))",
        statement,
    )
    statement = _MINUTE_OF.sub(
        r"strftime('%%Y-%%m-%%d %%H:%%M:00', 'now', (\1) || ' seconds')", statement
    )
    statement = _MINUTE_AT.sub(r"strftime('%%Y-%%m-%%d %%H:%%M:00', \1, 'unixepoch')", statement)
    statement = _ELEMENTS.sub(r"json_each(\1)", statement)
    statement = _ELEMENT.sub(r"json_extract(\1, '$[\2]')", statement)
    statement = _ANY.sub(r"IN (SELECT value FROM json_each(\1))", statement)
    statement = _TYPE.sub("", _HAD_TIME.sub("TRUE", statement))
    return (
        statement.replace("LATER(", "max(")
        .replace("NOW()", f"strftime({_SQLITE_TIME})")
        .replace("STATEMENT_TIME()", f"strftime({_SQLITE_TIME})")
        .replace("MINUTE()", "strftime('%%Y-%%m-%%d %%H:%%M:00', 'now')")
        .replace("EPOCH()", "CAST(strftime('%%s', 'now') AS INTEGER)")
        .replace("MOMENT()", "((julianday('now') - 2440587.5) * 86400.0)")
        .replace("LOCK SKIPPING ROWS", "")
        .replace("LOCK ROWS", "")
    )


FROZEN_SECONDS = 5
"""Who holds what others wait for is done in milliseconds. One that is frozen in its midst is thrown
out after so long, and not after the minute that other transactions have."""


def unless_frozen() -> list[str]:
    """What a transaction runs first that is to end soon, whatever becomes of its process."""
    return [f"SELECT {frozen_timeout()}"] if is_postgresql() else []


def frozen_timeout() -> str:
    """The setting that sees to that, for a statement that selects other things, too."""
    return f"set_config('idle_in_transaction_session_timeout', '{FROZEN_SECONDS}s', TRUE)"


AS_BY_KEY = """
    set_config('enable_seqscan', 'off', TRUE), set_config('enable_bitmapscan', 'off', TRUE),
    set_config('random_page_cost', '1', TRUE)"""
"""The settings of `BY_KEY`, for a statement that selects other things, too."""

AS_PLANNED_ONCE = "set_config('plan_cache_mode', 'force_generic_plan', TRUE)"
"""The setting to plan what follows once, and not again for the lengths of each call's arrays. Only
for what has one good plan, whatever the values and the sizes of the tables are."""

AS_BRIEFLY = "set_config('lock_timeout', '200ms', TRUE)"
"""The setting not to wait for locks for long; `was_held_up` tells who did so in vain."""


def was_held_up(error: Error) -> bool:
    """Whether a lock was not to be had in the time there was for it."""
    return isinstance(error.__cause__, LockNotAvailable)


BY_KEY = f"SELECT {AS_BY_KEY}"


def find_rows_by_key() -> None:
    """Until the end of the transaction, go to rows through an index, in the order of its keys.

    For statements that write the jobs of an array, whose order the planner may otherwise choose:
    in one order nobody waits for each other crosswise. It is also faster: for a batch, the planner
    would read the whole table as long as that has less than about 60,000 rows. As they lock jobs
    of everybody, the transaction has to end soon.
    """
    if is_postgresql():
        fetch(f"{BY_KEY}, {frozen_timeout()}", {})


# Neighbours lie side by side, so that the planner would rather read the primary key and leave out
# what is of others than go by the index of a tenant; but what others keep has no end.
BY_TENANT = """
SELECT set_config('random_page_cost', '0', TRUE), set_config('seq_page_cost', '0', TRUE)"""

IN_UNUSUAL = f"status IN {tuple(status.value for status in UNUSUAL)}"
"""Repeats the condition of the index `job_unusual` word for word: so SQLite recognises it."""

ALONE = "SELECT set_config('max_parallel_workers_per_gather', '0', TRUE)"
"""Until the end of the transaction no other process helps: for a few rows, starting one takes
longer than to read them, and the planner thinks that they are many."""


@contextmanager
def fewest_rows() -> Iterator[None]:
    """A transaction, or the one there is, whose reads go the way with the fewest rows."""
    if not is_postgresql():
        yield
        return
    is_open = _connected().connection.info.transaction_status != TransactionStatus.IDLE
    with nullcontext() if is_open else transaction.atomic():
        fetch(BY_TENANT, {})
        yield


_writer = threading.Lock()


@contextmanager
def one_writer() -> Iterator[None]:
    """A transaction, on SQLite of one thread of this process at a time.

    SQLite lets writers wait by sleeping, ever longer and in no order: threads that write all the
    time had better queue here.
    """
    waits = not is_postgresql() and not connection.in_atomic_block
    with _writer if waits else nullcontext(), transaction.atomic():
        yield


Rows = list[Any]
Query = tuple[str, Mapping[str, Any]]
"""A statement and its parameters."""


def fetch(statement: str, parameters: Mapping[str, Any], *, before: Iterable[str] = ()) -> Rows:
    """Run a statement and fetch its rows; those of `before` run first, in the same transaction."""
    return fetch_all([*((one, {}) for one in before), (statement, parameters)])[-1]


def fetch_all(queries: Sequence[Query]) -> list[Rows]:
    """Run statements one after the other and fetch the rows of each.

    On PostgreSQL in one round trip and, if none is open, in one transaction. There they go past
    Django's cursor: the server binds the parameters and answers in binary, which takes half the
    time for arrays.
    """
    database = _connected()
    if not _goes_past_django(database):
        return _fetch_watched(queries)
    raw = database.connection
    cursors = [psycopg.Cursor(raw) for _ in queries]
    try:
        together = raw.pipeline() if len(queries) > 1 else nullcontext()
        with database.wrap_database_errors, together:
            for cursor, (statement, parameters) in zip(cursors, queries, strict=True):
                cursor.execute(_postgresql(statement), parameters or None, binary=True)
    except Error:
        # The driver may take a statement for prepared that was passed over after the failed one.
        if not database.in_atomic_block:
            database.close()
        raise
    return [cursor.fetchall() if _has_rows(cursor) else [] for cursor in cursors]


def _has_rows(cursor: psycopg.Cursor[Any]) -> bool:
    """Whether the statement answers rows; `description` would describe each column for that."""
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0


def execute(statement: str, parameters: Mapping[str, Any]) -> int:
    """Run a statement the same way; answers how many rows it wrote."""
    database = _connected()
    if not _goes_past_django(database):
        with database.cursor() as cursor:
            cursor.execute(sql(statement), parameters)
            return int(cursor.rowcount)
    with database.wrap_database_errors:
        raw = psycopg.Cursor(database.connection)
        return raw.execute(_postgresql(statement), parameters).rowcount


def _connected() -> BaseDatabaseWrapper:
    """This thread's connection itself: each look through Django's proxy takes a microsecond."""
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    return database


def has_plain_rows() -> bool:
    """Whether `fetch` answers rows as PostgreSQL's driver reads them: each value in its type."""
    return _goes_past_django(_connected())


def _goes_past_django(database: BaseDatabaseWrapper) -> bool:
    """Whether nobody wants to see the statements who would not see them at the driver."""
    return (
        database.vendor == "postgresql"
        and not database.execute_wrappers
        and not database.queries_logged
    )


def _fetch_watched(queries: Sequence[Query]) -> list[Rows]:
    """The same through Django's cursor, where its wrappers and its log of queries see it."""
    found = []
    several = transaction.atomic(savepoint=False) if len(queries) > 1 else nullcontext()
    with several, connection.cursor() as cursor:
        for statement, parameters in queries:
            cursor.execute(sql(statement), parameters)
            found.append(cursor.fetchall() if cursor.description else [])
    return found


def array(values: Iterable[Any]) -> Any:
    """A parameter for `= ANY(...)`."""
    if is_postgresql():
        return list(values)
    return json.dumps([scalar(value) for value in values])


def array_of_uuids(values: Iterable[uuid.UUID]) -> str:
    """A `uuid[]` as text for PostgreSQL to read: a list costs the driver five times as much."""
    return f"{{{','.join([f'{value.int:032x}' for value in values])}}}"


def array_of_bytes(values: Iterable[bytes | None]) -> str:
    """A `bytea[]` as text, for the same reason."""
    texts = ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]
    return f"{{{','.join(texts)}}}"


def array_of_numbers(values: Iterable[float]) -> str:
    """An array of any type of numbers as text, for the same reason."""
    return f"{{{','.join([repr(value) for value in values])}}}"


def array_of_seconds(values: Iterable[float]) -> str:
    """The same to the microsecond: all digits of a number take four times as long to find."""
    return f"{{{','.join([f'{value:.6f}' for value in values])}}}"


def scalar(value: Any) -> Any:
    """A parameter as the database's driver takes it: SQLite keeps UUIDs as 32 hex digits."""
    if isinstance(value, uuid.UUID) and not is_postgresql():
        return value.hex
    return value


def as_uuid(value: Any) -> uuid.UUID:
    """A UUID as a row holds it."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
