"""The tests' own PostgreSQL: it restarts with its data, and goes when its starter goes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from tests import postgres
from tests.architecture.rules import ROOT
from tests.harness import wait_until
from tests.postgres import PostgresUnavailable, Server, running_server


@pytest.fixture(autouse=True)
def no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where none is given."""
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_crash_and_restart_keep_what_was_committed() -> None:
    with running_server() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.stop(immediate=True)
        assert server.pid is None
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]
    assert not server.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ends_with_the_process_that_started_it(number: int) -> None:
    script = "import os, time; print(os.environ[postgres.HANDLE], flush=True); time.sleep(60)"
    script = f"from tests import postgres; {script}"
    starter = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres", "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert starter.stdout
    server = Server(Path(starter.stdout.readline().strip()))
    url = server.url
    assert _accepts(url)
    family = psutil.Process(starter.pid).children(recursive=True)
    starter.send_signal(number)
    starter.wait()
    starter.stdout.close()
    try:
        wait_until(lambda: not _accepts(url), what="the server is gone")
    finally:
        for process in family:
            if process.is_running():
                process.kill()
        shutil.rmtree(server.directory, ignore_errors=True)


def test_remains_of_a_killed_run_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_scratch_directory", lambda: tmp_path)
    old, new = tmp_path / f"{postgres.PREFIX}old", tmp_path / f"{postgres.PREFIX}new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (1, 1))
    postgres.remove_remains()
    assert list(tmp_path.iterdir()) == [new]


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_missing_server_is_a_failure_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_candidates", lambda: iter([Path("/nowhere")]))
    with pytest.raises(PostgresUnavailable, match="set DATABASE_URL=postgres"):
        postgres.find_binaries()


def test_given_server_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "find_binaries", lambda: pytest.fail("looked for a server"))
    monkeypatch.setattr(postgres.signal, "signal", lambda *_: None)
    monkeypatch.setitem(os.environ, "DATABASE_URL", "postgres://somewhere/else")
    check = "import os, sys; sys.exit(os.environ['DATABASE_URL'] != 'postgres://somewhere/else')"
    assert postgres.main(["-c", check]) == 0
