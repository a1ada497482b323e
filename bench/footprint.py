"""What a worker costs when nothing is to be done, and how much memory it takes."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from django.db import connection

from bench import load
from bench.drains import NOOP, ONE_PROCESS, TWO_PROCESSES
from bench.scenario import Figure, Sample, Settings
from jobs.models import Worker
from tests.harness import ProjectProcess, running_workers
from tests.postgres import Server, own_server

IDLE_SECONDS, LOGGED_SECONDS, CALM_SECONDS = 20, 10, 3
MEMORY_JOBS, MEMORY_JOBS_LONG = 100_000, 1_000_000
_STATEMENT = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): *(\w*)")
_TRANSACTIONS = """
SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"""


def idle(settings: Settings) -> Iterator[Sample]:
    """A node of two processes with nothing to do."""
    for _ in settings.each_run():
        load.wipe()
        with running_workers(*TWO_PROCESSES) as (node,):
            load.warm_up()
            time.sleep(CALM_SECONDS)
            sample = _quiet(node, IDLE_SECONDS * settings.scale)
            if server := own_server():
                sample |= _logged(server, LOGGED_SECONDS * settings.scale)
        yield sample


def _quiet(node: ProjectProcess, seconds: float) -> dict[str, Figure]:
    """Processor time of the supervisor and all its processes, and transactions."""
    family = node.family()
    busy, transactions, started = cpu_seconds(family), _transactions(), time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    busy, transactions = cpu_seconds(family) - busy, _transactions() - transactions
    return {
        "processor": Figure(100 * busy / elapsed),
        "transactions": Figure(transactions / elapsed),
    }


def cpu_seconds(family: list[psutil.Process]) -> float:
    """Processor time of these processes so far."""
    times = [process.cpu_times() for process in family]
    return sum(one.user + one.system for one in times)


def _transactions() -> int:
    """Transactions of this database so far."""
    with connection.cursor() as cursor:
        cursor.execute(_TRANSACTIONS)
        return int(cursor.fetchone()[0])


def _logged(server: Server, seconds: float) -> dict[str, Figure]:
    """Statements that the workers sent, counted in the server's log."""
    log = server.directory / "log"
    with _logging_statements():
        offset, started = log.stat().st_size, time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - started
        words = _statements(log, offset)
    queries = [word for word in words if word not in {"BEGIN", "COMMIT", "ROLLBACK"}]
    return {
        "statements with BEGIN and COMMIT": Figure(len(words) / elapsed),
        "queries": Figure(len(queries) / elapsed),
    }


@contextmanager
def _logging_statements() -> Iterator[None]:
    _set("ALTER SYSTEM SET log_statement = 'all'")
    try:
        time.sleep(0.5)  # until every session has read it
        yield
    finally:
        _set("ALTER SYSTEM RESET log_statement")


def _set(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SELECT pg_reload_conf()")


def _statements(log: Path, offset: int) -> list[str]:
    """The first words of the statements since the offset, without those of this connection.

    A statement that begins with an empty line has none.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ours = str(cursor.fetchone()[0])
    with log.open(errors="replace") as lines:
        lines.seek(offset)
        found = [_STATEMENT.search(line) for line in lines]
    return [match[2].upper() for match in found if match and match[1] != ours]


def memory(settings: Settings) -> Iterator[Sample]:
    """One worker process before it had anything to do, and after very many jobs."""
    jobs = settings.jobs(MEMORY_JOBS_LONG if settings.is_long else MEMORY_JOBS)
    for _ in settings.each_run():
        load.wipe()
        with running_workers(*ONE_PROCESS):
            time.sleep(CALM_SECONDS * settings.scale)
            pid = Worker.objects.get().pid
            before = memory_of(pid)
            tenants = load.submitted_by(
                lambda: load.submit_bulk(load.make_tenant("bench"), jobs, NOOP)
            )
            load.wait_for(jobs, tenants)
            after = memory_of(pid)
        load.counted(jobs, tenants, b"null")
        yield {
            "idle, resident": Figure(before["Rss"]),
            "idle, its share": Figure(before["Pss"]),
            "after, resident": Figure(after["Rss"]),
            "after, its share": Figure(after["Pss"]),
        }


def memory_of(pid: int) -> dict[str, float]:
    """MiB of a process by Linux's names: `Rss`, and `Pss`, in which shared pages are shared out."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {name: kilobytes[name] / 1024 for name in ("Rss", "Pss")}
