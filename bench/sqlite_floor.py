"""The raw floor on SQLite: the same bare loop as in `bench.floor`, by the standard library."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from bench.figures import rate

_DURABLE = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"
_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
_TABLE = """
CREATE TABLE bench_floor (
    id text PRIMARY KEY, tenant_id integer NOT NULL, queue text NOT NULL, task text NOT NULL,
    status text NOT NULL, priority integer NOT NULL, payload blob NOT NULL, result blob,
    attempt integer NOT NULL, worker text NOT NULL, created_at text NOT NULL, run_at text NOT NULL,
    started_at text, finished_at text
);
CREATE INDEX bench_floor_ready ON bench_floor (priority DESC, run_at, id)
WHERE status = 'PENDING'"""
_FILL = f"""
INSERT INTO bench_floor VALUES (?, 1, 'default', 'bench.tasks.noop', 'PENDING', 0, '{{}}', NULL, 0,
    '', {_NOW}, {_NOW}, NULL, NULL)"""
_CLAIM = f"""
UPDATE bench_floor SET status = 'RUNNING', attempt = attempt + 1, worker = 'bench',
    started_at = {_NOW}
WHERE id IN (
    SELECT id FROM bench_floor WHERE status = 'PENDING' ORDER BY priority DESC, run_at, id LIMIT ?
)
RETURNING id, task, payload, attempt"""
_FINISH = f"""
UPDATE bench_floor SET status = 'DONE', result = 'null', finished_at = {_NOW}
WHERE id IN (SELECT value FROM json_each(?))"""
_LEFT = "SELECT count(*) FROM bench_floor WHERE status <> 'DONE' OR result IS NULL"


def sqlite_floor_rate(directory: Path, jobs: int, *, batch: int = 100) -> float:
    """Jobs per second of the bare loop, in a file of its own in the directory.

    Raises `ValueError` if not all of them got done.
    """
    file = directory / "floor.sqlite3"
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            seconds = _fill_and_drain(connection, jobs, batch)
    finally:
        file.unlink(missing_ok=True)
    return rate(jobs, seconds)


def _fill_and_drain(connection: sqlite3.Connection, jobs: int, batch: int) -> float:
    connection.executescript(f"{_DURABLE}; {_TABLE}")
    connection.execute("BEGIN")
    connection.executemany(_FILL, ([uuid4().hex] for _ in range(jobs)))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    started = time.monotonic()
    while claimed := connection.execute(_CLAIM, [batch]).fetchall():
        connection.execute(_FINISH, [json.dumps([row[0] for row in claimed])])
    seconds = time.monotonic() - started
    if (row := connection.execute(_LEFT).fetchone()) != (0,):
        raise ValueError(f"The floor left jobs behind: {row}")
    return seconds
