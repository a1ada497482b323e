"""The databases that are measured: a fresh PostgreSQL, and a fresh file of SQLite.

PostgreSQL runs as `initdb` makes it: its defaults in everything that decides speed or durability.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from bench.scenario import POSTGRESQL, BenchError
from tests.postgres import HANDLE, running_server

ROOT = Path(__file__).resolve().parent.parent
SERVER_SETTINGS = {"listen_addresses": "127.0.0.1"}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@contextmanager
def database(kind: str) -> Iterator[Mapping[str, str]]:
    """A migrated database of this kind; answers the environment of processes that work on it."""
    with ExitStack() as stack:
        var = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-bench-"))
        if kind == POSTGRESQL:
            server = stack.enter_context(running_server(SERVER_SETTINGS))
            _refuse_fast_and_loose(server.url)
            place = {"DATABASE_URL": server.url, HANDLE: str(server.directory)}
        else:
            place = {"DATABASE_URL": f"sqlite:///{var}/bench.sqlite3"}
        environment = os.environ | place | {"VAR_DIR": var, "JOBQUEUE": "{}", "DEBUG": "0"}
        environment["DJANGO_SETTINGS_MODULE"] = "jobqueue_project.settings"
        _migrate(environment)
        yield environment


def _refuse_fast_and_loose(url: str) -> None:
    """Raise `BenchError` if the server would answer before a commit is on the disk."""
    with psycopg.connect(url) as connection:
        for name, wanted in DURABLE.items():
            row = connection.execute(f"SHOW {name}").fetchone()
            if row != (wanted,):
                raise BenchError(f"The server has {name} = {row}: its figures would mean nothing.")


def _migrate(environment: Mapping[str, str]) -> None:
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=dict(environment), check=True)  # noqa: S603
