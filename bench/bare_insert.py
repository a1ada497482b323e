"""The floor of submissions: the same row, inserted by the database's driver and by nothing else."""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from bench.figures import rate
from jobs.uuid7 import uuid7
from tests.harness import database_url


class BareInsert:
    """Inserts copies of one submitted job, with a commit for each statement."""

    def __init__(self, job_id: UUID) -> None:
        self._is_postgresql = connection.vendor == "postgresql"
        self._connection = self._connect()
        columns = [column.name for column in self._columns()]
        row = self._row(job_id, columns)
        self._others = [row[name] for name in columns if name != "id"]
        mark = "%s" if self._is_postgresql else "?"
        names = ", ".join(["id", *(name for name in columns if name != "id")])
        self.statement = (
            f"INSERT INTO jobs_job ({names}) VALUES ({', '.join([mark] * len(columns))})"
        )

    def one_by_one(self, jobs: int) -> float:
        """Jobs per second, each as an INSERT and a COMMIT."""
        started = time.monotonic()
        for _ in range(jobs):
            self._insert_all([self.values()])
        return rate(jobs, time.monotonic() - started)

    def in_one_trip_each(self, jobs: int) -> float:
        """Jobs per second, each as an INSERT that commits itself: the least that there can be."""
        started = time.monotonic()
        for _ in range(jobs):
            self._connection.execute(self.statement, self.values())
        return rate(jobs, time.monotonic() - started)

    def in_bulk(self, jobs: int, batch: int) -> float:
        """Jobs per second, so many to a transaction."""
        started = time.monotonic()
        for begin in range(0, jobs, batch):
            rows = [self.values() for _ in range(min(batch, jobs - begin))]
            self._insert_all(rows)
        return rate(jobs, time.monotonic() - started)

    def values(self) -> list[Any]:
        """The parameters of `statement` for one more job."""
        return [self._as_id(uuid7()), *self._others]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _connect(self) -> Any:
        if self._is_postgresql:
            return psycopg.connect(database_url(), autocommit=True)
        bare = sqlite3.connect(Path(connection.settings_dict["NAME"]), isolation_level=None)
        bare.execute("PRAGMA synchronous=FULL")
        return bare

    def _columns(self) -> Sequence[Any]:
        with connection.cursor() as cursor:
            return connection.introspection.get_table_description(cursor, "jobs_job")

    def _row(self, job_id: UUID, columns: Sequence[str]) -> dict[str, Any]:
        """The row as the driver takes it back: on PostgreSQL as text, whatever the types."""
        cast = "::text" if self._is_postgresql else ""
        chosen = ", ".join(f"{name}{cast}" for name in columns)
        sql = f"SELECT {chosen} FROM jobs_job WHERE id = {'%s' if self._is_postgresql else '?'}"
        found = self._connection.execute(sql, [self._as_id(job_id)]).fetchone()
        return dict(zip(columns, found, strict=True))

    def _as_id(self, job_id: UUID) -> Any:
        return job_id if self._is_postgresql else job_id.hex

    def _insert_all(self, rows: Sequence[Sequence[Any]]) -> None:
        if self._is_postgresql:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                if len(rows) == 1:
                    cursor.execute(self.statement, rows[0])
                else:
                    cursor.executemany(self.statement, rows)
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self.statement, rows)
        self._connection.execute("COMMIT")
