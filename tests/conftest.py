"""What every test has: a world of tenants, and the proof that it left nothing behind."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import psutil
import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.db import connection
from django.db.backends.signals import connection_created
from django.test import TransactionTestCase

from jobs import leases, sending, tenant_keys, wakeup
from jobs.api import rate_limits
from jobs.backend import recent_tenants
from jobs.data_keys import forget_keys
from jobs.models import Tenant
from jobs.store import Waits, dialect, insert
from tests.emptying import empty_tables
from tests.live_server import live_server
from tests.one_writer import watch
from tests.postgres import Server, own_server

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(str(ROOT / app) for app in ("jobs", "workers", "dashboard", "demo"))
LEFTOVER_GRACE_SECONDS = 10
MAIN_THREADS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")

connection_created.connect(watch)
TransactionTestCase._fixture_teardown = lambda self: empty_tables()


def pytest_configure() -> None:
    """SIGTERM ends the tests as Ctrl-C does: with everything that they started.

    And no property is thought less of because the machine has other things to do.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    too_slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=too_slow)
    hypothesis.settings.load_profile("patient")


@pytest.fixture(autouse=True)
def remembers_no_tenants() -> None:
    """Tenants of an earlier test are gone, whatever the time."""
    recent_tenants.clear()


@pytest.fixture(autouse=True)
def remembers_no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything still to be written of them."""
    monkeypatch.setattr(leases, "waits", Waits())


@pytest.fixture(autouse=True)
def remembers_no_encryption_keys() -> None:
    """Nor are keys of theirs known whose ids come again."""
    forget_keys()


@pytest.fixture(autouse=True)
def waits_for_no_other_processes_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else knows a key that a test erases."""
    monkeypatch.setattr(tenant_keys, "FORGOTTEN_SECONDS", 0)


@pytest.fixture(autouse=True)
def knows_the_databases_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No insert of a test has a statement more because a minute is over."""
    monkeypatch.setattr(insert, "_asked_at", math.inf)


@pytest.fixture
def environment_holds(settings: LazySettings) -> Callable[..., None]:
    """Sets the entries of `ENCRYPTION_KEYS`, as if this process had been started with them."""

    def hold(*entries: str) -> None:
        settings.ENCRYPTION_KEYS = ",".join(entries)
        forget_keys()

    return hold


@pytest.fixture(autouse=True)
def wakes_with_short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that wakes workers does not wait for long to be needed again."""
    monkeypatch.setattr(wakeup, "IDLE_SECONDS", 0.2)


@pytest.fixture(autouse=True)
def transactions_may_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's transaction may go on for long after what it does to jobs."""
    monkeypatch.setattr(dialect, "FROZEN_SECONDS", 120)


@pytest.fixture(autouse=True)
def leaves_nothing_behind(wakes_with_short_lives: None) -> Iterator[None]:
    """After each test, no thread and no child process of ours is alive."""
    before = _children()
    yield
    deadline = time.monotonic() + LEFTOVER_GRACE_SECONDS
    while left := _own_threads() + _describe(_children() - before):
        if time.monotonic() > deadline:
            pytest.fail(f"The test left behind: {', '.join(left)}")
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def stays_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are counted by the minute; no test depends on when the next one begins."""
    ends_at = int(time.time()) + 60
    monkeypatch.setattr("django_ratelimit.core._get_window", lambda *_: ends_at)


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """No test sees another's cached values or spent rates."""
    cache.clear()
    rate_limits.refused_until.clear()


@pytest.fixture(autouse=True)
def reads_no_exports() -> None:
    """Answers that an earlier test has not read to their end do not count."""
    sending._open.clear()


@pytest.fixture
def make_tenant(db: None) -> Callable[..., Tenant]:
    """Makes tenants, without limits unless told."""

    def make(slug: str, **fields: object) -> Tenant:
        unlimited = {"max_running": None, "submissions_per_minute": None}
        return Tenant.objects.create(slug=slug, **unlimited | fields)

    return make


@pytest.fixture
def alice(make_tenant: Callable[..., Tenant]) -> Tenant:
    """The tenant that most tests act as; without limits."""
    return make_tenant("alice")


@pytest.fixture
def mallory(make_tenant: Callable[..., Tenant]) -> Tenant:
    """A stranger, who must never see anything of Alice's; without limits."""
    return make_tenant("mallory")


@pytest.fixture(scope="session")
def server(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """The address of a real server, which all tests share whom its own state does not matter."""
    with django_db_blocker.unblock(), live_server() as (address, _):
        yield address


@pytest.fixture
def postgres_server() -> Iterator[Server]:
    """The server under the tests, to be stopped and started; it runs again afterwards."""
    server = own_server()
    if server is None:
        pytest.skip("needs a PostgreSQL of the tests' own: python -m tests.postgres -m pytest")
    yield server
    connection.close()
    if server.pid is None:
        server.start()


def _own_threads() -> list[str]:
    """Threads that run code of ours, and non-daemon ones that nobody accounts for."""
    frames = sys._current_frames()
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    return [
        f"thread {t.name}"
        for t in others
        if _runs_our_code(frames.get(t.ident or 0)) or not (t.daemon or _is_pool_of_library(t))
    ]


def _runs_our_code(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            return True
        frame = frame.f_back
    return False


def _is_pool_of_library(thread: threading.Thread) -> bool:
    """asgiref's and asyncio's executors keep idle threads; ours have names of their own."""
    return thread.name.startswith(("ThreadPoolExecutor-", "asyncio_"))


def _children() -> set[int]:
    """The ids of our child processes.

    Linux lists them for each thread; to look at all processes takes longer than most tests. What
    they start in turn is theirs: a server that tests share may start a worker late.
    """
    if not MAIN_THREADS_CHILDREN.exists():
        return {child.pid for child in psutil.Process().children()}
    found: set[int] = set()
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended: another lists what it started
            found.update(map(int, listed.read_text().split()))
    return found


def _describe(pids: set[int]) -> list[str]:
    """Those that are alive, but for the database server and multiprocessing's bookkeeper."""
    described = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile, as it should
            process = psutil.Process(pid)
            if not _is_infrastructure(process):
                described.append(f"process {pid} ({process.name()})")
    return described


def _is_infrastructure(process: psutil.Process) -> bool:
    server = own_server()
    return (
        process.status() == psutil.STATUS_ZOMBIE
        or (server is not None and process.pid == server.pid)
        or "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    )
