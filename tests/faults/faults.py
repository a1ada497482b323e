"""The faults: each is begun, lasts, and is undone at the end of its `with` block.

Each is told the world and `where`, a number from 0 to 1 that chooses the victim, and says what it
does. Faults of one part are not begun while another of that part lasts.
"""

import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from os import SEEK_END, posix_fallocate
from typing import TypeVar

import psutil
import psycopg
from django.conf import settings

from tests.faults.disk import small_disk
from tests.faults.proxy import Proxy
from tests.faults.world import Program, World

T = TypeVar("T")
Doing = Callable[[World, float], AbstractContextManager[str]]
MOMENT = (0.0, 0.5)
CHUNKS = (8 * 2**20, 2**16)


@dataclass(frozen=True, slots=True)
class Fault:
    """What can be done to a world.

    `lasts`: from how many seconds to how many. `beyond_lease`: these come on top of a lease.
    """

    name: str
    part: str
    databases: tuple[str, ...]
    do: Doing
    lasts: tuple[float, float]
    beyond_lease: bool = False


FAULTS: dict[str, Fault] = {}
BOTH, POSTGRESQL, SQLITE = ("postgresql", "sqlite"), ("postgresql",), ("sqlite",)


def fault(
    name: str,
    part: str,
    databases: tuple[str, ...],
    lasts: tuple[float, float],
    *,
    beyond_lease: bool = False,
) -> Callable[[Callable[[World, float], Iterator[str]]], None]:
    """Enter a generator function into `FAULTS`."""

    def enter(function: Callable[[World, float], Iterator[str]]) -> None:
        do = contextmanager(function)
        FAULTS[name] = Fault(name, part, databases, do, lasts, beyond_lease)

    return enter


def one_of(things: Sequence[T], where: float) -> T:
    """The thing at this place of the sequence."""
    return things[int(where * len(things))]


@fault("kill-worker", "workers", BOTH, MOMENT)
def kill_worker(world: World, where: float) -> Iterator[str]:
    """SIGKILL for a worker process: its supervisor settles its jobs and replaces it."""
    yield _to_worker(world, where, signal.SIGKILL)


@fault("freeze-worker", "workers", BOTH, (1, 4), beyond_lease=True)
def freeze_worker(world: World, where: float) -> Iterator[str]:
    """SIGSTOP for a worker process until its leases are over, then SIGCONT."""
    worker = _worker(world, where)
    if worker is None:
        yield "no worker process is there to be frozen"
        return
    _send(worker, signal.SIGSTOP)
    yield f"SIGSTOP for worker process {worker.pid}"
    _send(worker, signal.SIGCONT)


@fault("kill-supervisor", "nodes", BOTH, MOMENT)
def kill_supervisor(world: World, where: float) -> Iterator[str]:
    """SIGKILL for a supervisor: its workers notice and end."""
    node = one_of(world.nodes, where)
    node.kill()
    yield f"SIGKILL for the supervisor of {node.name}"


@fault("kill-node", "nodes", BOTH, MOMENT)
def kill_node(world: World, where: float) -> Iterator[str]:
    """SIGKILL for a supervisor and all its workers: nobody is left who could settle their jobs."""
    node = one_of(world.nodes, where)
    node.kill(with_all=True)
    yield f"SIGKILL for all of {node.name}"


@fault("freeze-supervisor", "nodes", BOTH, (2, 6))
def freeze_supervisor(world: World, where: float) -> Iterator[str]:
    """SIGSTOP for a supervisor."""
    yield from _freeze(one_of(world.nodes, where))


@fault("kill-web", "web", BOTH, MOMENT)
def kill_web(world: World, where: float) -> Iterator[str]:
    """SIGKILL for the web process, in the midst of submissions."""
    world.web.kill()
    yield "SIGKILL for the web process"


@fault("freeze-web", "web", BOTH, (1, 4))
def freeze_web(world: World, where: float) -> Iterator[str]:
    """SIGSTOP for the web process, perhaps in the midst of a transaction."""
    yield from _freeze(world.web)


@fault("cut", "network", POSTGRESQL, MOMENT)
def cut(world: World, where: float) -> Iterator[str]:
    """All connections of somebody are reset."""
    name, proxy = _proxy(world, where)
    yield f"{proxy.cut()} connections of {name} reset"


@fault("refuse", "network", POSTGRESQL, (1, 6))
def refuse(world: World, where: float) -> Iterator[str]:
    """Somebody cannot reach the database."""
    name, proxy = _proxy(world, where)
    proxy.refusing = True
    yield f"{proxy.cut()} connections of {name} reset, new ones refused"
    proxy.heal()


@fault("stall", "network", POSTGRESQL, (1, 4), beyond_lease=True)
def stall(world: World, where: float) -> Iterator[str]:
    """Somebody's connections stand and pass nothing, for longer than a lease."""
    name, proxy = _proxy(world, where)
    proxy.stalled = True
    yield f"the connections of {name} pass nothing"
    proxy.heal()


@fault("delay", "network", POSTGRESQL, (2, 6))
def delay(world: World, where: float) -> Iterator[str]:
    """Somebody is far from the database."""
    name, proxy = _proxy(world, where)
    proxy.delay = 0.02 + 0.1 * where
    yield f"{1000 * proxy.delay:.0f} ms each way between {name} and the database"
    proxy.heal()


@fault("drop-replies", "network", POSTGRESQL, (2, 6))
def drop_replies(world: World, where: float) -> Iterator[str]:
    """Every fourth COMMIT of somebody is done, and its answer lost."""
    name, proxy = _proxy(world, where)
    proxy.drop_every = 4
    yield f"answers to COMMITs of {name} get lost"
    proxy.heal()


@fault("terminate-backends", "database", POSTGRESQL, MOMENT)
def terminate_backends(world: World, where: float) -> Iterator[str]:
    """Every so manyth backend of the server is terminated."""
    assert world.server is not None
    every = 2 + int(3 * where)
    with psycopg.connect(world.server.url, autocommit=True) as administrator:
        row = administrator.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid %% %s = 0",
            [every],
        ).fetchone()
    assert row is not None
    yield f"{row[0]} backends of PostgreSQL terminated"


@fault("crash-database", "database", POSTGRESQL, (0.5, 6))
def crash_database(world: World, where: float) -> Iterator[str]:
    """PostgreSQL crashes and is started again after a while."""
    assert world.server is not None
    world.server.stop(immediate=True)
    yield "PostgreSQL stopped as by a crash"
    world.server.start()


@fault("fill-disk", "database", POSTGRESQL, (2, 5))
def fill_disk(world: World, where: float) -> Iterator[str]:
    """The disk that the tables are on is full."""
    disk = small_disk()
    assert disk is not None
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        for step in CHUNKS:
            with suppress(OSError):  # it is full
                while True:
                    posix_fallocate(file.fileno(), file.seek(0, SEEK_END), step)
    yield "the disk of the tables is full"
    ballast.unlink()


@fault("hold-lock", "database", SQLITE, (1, 5))
def hold_lock(world: World, where: float) -> Iterator[str]:
    """Somebody holds SQLite's one lock for writing."""
    # Waits for nobody: who holds the lock may be frozen, and it is for this thread to thaw it.
    connection = sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=0.2)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield "SQLite's lock for writing is held"
    except sqlite3.OperationalError:
        yield "SQLite's lock for writing is held by somebody else"
    finally:
        connection.close()


def _worker(world: World, where: float) -> psutil.Process | None:
    workers = [worker for node in world.nodes for worker in node.workers()]
    return one_of(workers, where) if workers else None


def _to_worker(world: World, where: float, number: signal.Signals) -> str:
    worker = _worker(world, where)
    if worker is None or not _send(worker, number):
        return "no worker process is there to be killed"
    return f"{number.name} for worker process {worker.pid}"


def _freeze(program: Program) -> Iterator[str]:
    frozen = psutil.Process(program.pid)
    _send(frozen, signal.SIGSTOP)
    yield f"SIGSTOP for {program.name} itself"
    _send(frozen, signal.SIGCONT)


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def _proxy(world: World, where: float) -> tuple[str, Proxy]:
    return one_of(list(world.proxies.items()), where)
