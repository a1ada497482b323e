"""The raw floor: what this machine's PostgreSQL can do when nothing is in the way.

A bare loop in psycopg claims a batch and finishes it, each with a durable commit, on a table with
the columns that a job cannot do without. No framework, no limits, no tenants' rights, no tasks.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier

import psycopg

from bench.figures import rate

_TABLE = """
CREATE TABLE bench_floor (
    id uuid PRIMARY KEY, tenant_id bigint NOT NULL, queue varchar(128) NOT NULL,
    task varchar(128) NOT NULL, status varchar(9) NOT NULL, priority smallint NOT NULL,
    payload bytea NOT NULL, result bytea, attempt smallint NOT NULL, worker varchar(64) NOT NULL,
    created_at timestamptz NOT NULL, run_at timestamptz NOT NULL,
    started_at timestamptz, finished_at timestamptz
)"""
_READY = """
CREATE INDEX bench_floor_ready ON bench_floor (priority DESC, run_at, id)
WHERE status = 'PENDING'"""
_FILL = """
INSERT INTO bench_floor SELECT gen_random_uuid(), 1, 'default', 'bench.tasks.noop', 'PENDING', 0,
    '{}', NULL, 0, '', clock_timestamp(), clock_timestamp(), NULL, NULL
FROM generate_series(1, %s)"""
_CLAIM = """
UPDATE bench_floor SET status = 'RUNNING', attempt = attempt + 1, worker = 'bench',
    started_at = clock_timestamp()
WHERE id = ANY(ARRAY(
    SELECT id FROM bench_floor WHERE status = 'PENDING'
    ORDER BY priority DESC, run_at, id LIMIT %s FOR UPDATE SKIP LOCKED
))
RETURNING id, task, payload, attempt"""
_FINISH = """
UPDATE bench_floor SET status = 'DONE', result = 'null', finished_at = clock_timestamp()
WHERE id = ANY(%s)"""
_barrier: Barrier  # of a process of the pool: where all of them wait for each other
_LEFT = "SELECT count(*) FROM bench_floor WHERE status <> 'DONE' OR result IS NULL"


def floor_rate(url: str, jobs: int, *, batch: int = 100, processes: int = 1) -> float:
    """Jobs per second of the bare loop. Raises `ValueError` if not all of them got done."""
    with psycopg.connect(url, autocommit=True) as connection, _table(connection, jobs):
        seconds = _drain_together(url, batch, processes) if processes > 1 else _drain(url, batch)
        row = connection.execute(_LEFT).fetchone()
        if row != (0,):
            raise ValueError(f"The floor left jobs behind: {row}")
    return rate(jobs, seconds)


@contextmanager
def _table(connection: psycopg.Connection, jobs: int) -> Iterator[None]:
    """The table with so many ready jobs, as settled as a table that has been there for long."""
    connection.execute("DROP TABLE IF EXISTS bench_floor")
    connection.execute(_TABLE)
    connection.execute(_READY)
    connection.execute(_FILL, [jobs])
    connection.execute("VACUUM (ANALYZE) bench_floor")
    connection.execute("CHECKPOINT")
    yield
    connection.execute("DROP TABLE bench_floor")


def _drain(url: str, batch: int) -> float:
    """Claim and finish until nothing is ready; answers the seconds it took."""
    with psycopg.connect(url, autocommit=True) as connection:
        started = time.monotonic()
        while claimed := connection.execute(_CLAIM, [batch]).fetchall():
            connection.execute(_FINISH, [[row[0] for row in claimed]])
        return time.monotonic() - started


def _drain_together(url: str, batch: int, processes: int) -> float:
    """The same in several processes; answers the seconds from the first start to the last end."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(processes)
    with spawn.Pool(processes, _meet_at, (ready,)) as pool:
        spans = pool.starmap(_drain_from_barrier, [(url, batch)] * processes, chunksize=1)
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _meet_at(barrier: Barrier) -> None:
    """In a process of the pool: keep what all of them wait at."""
    global _barrier  # noqa: PLW0603  (a pool hands it over only this way)
    _barrier = barrier


def _drain_from_barrier(url: str, batch: int) -> tuple[float, float]:
    """Start when all do; answers start and end by the clock that processes share."""
    _barrier.wait(60)
    started = time.monotonic()
    _drain(url, batch)
    return started, time.monotonic()
