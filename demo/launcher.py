"""Run everything with one command: web, workers and, for the demo, a workload. Ctrl-C stops it."""

import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from django.conf import settings
from django.db import OperationalError, close_old_connections, connection
from django.db.models import Count

from demo.installation import Installation, prepare
from demo.processes import Child, stop_all
from demo.workload import Workload
from jobs.models import Job
from jobs.statuses import Status

HOST = "127.0.0.1"
READY_SECONDS = 60
DRAIN_SECONDS = 3
STOP_SECONDS = 8
"""Longer than the drain; what still runs then is killed."""


class LaunchFailed(Exception):
    """What the person at the keyboard has to be told. Ends the launcher with exit code 1."""


def launch(port: int, *, workload: bool) -> None:
    """Run until a signal asks for the end. Raises `LaunchFailed`."""
    with only_one(port), stop_on_signal() as stop:
        require_free(port)
        installation = prepare()
        load = Workload() if workload else None
        children = [_start_web(port), _start_workers()]
        try:
            _wait_until_ready(port, children, stop)
            if not stop.is_set():
                _say(_greeting(port, installation, children))
            _watch(children, load, stop)
        finally:
            _say("Stopping …")
            stubborn = stop_all(children, within_seconds=STOP_SECONDS)
    _say(_farewell(stubborn))


@contextmanager
def only_one(port: int) -> Iterator[None]:
    """Hold the directory of the data. Raises `LaunchFailed` if another launcher does.

    The lock is the system's: it goes with the process, so none is ever left behind.
    """
    directory = Path(settings.VAR_DIR)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "launcher.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip() or "another process"
            raise LaunchFailed(
                f"This installation runs already ({other}) with its data in {directory}. "
                "Stop that one first, or give this one a directory of its own: VAR_DIR=…"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, http://{HOST}:{port}/")
        lock.flush()
        yield


def require_free(port: int) -> None:
    """Raise `LaunchFailed` if something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LaunchFailed(
                f"Port {port} of {HOST} cannot be used ({error.strerror}). "
                f"Stop what listens there, or choose another: make demo PORT={port + 1}"
            ) from None


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that SIGINT, SIGTERM and SIGHUP set instead of interrupting."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_web(port: int) -> Child:
    address = ["--bind", HOST, "--port", str(port)]
    quiet = ["--verbosity", "0", "--no-server-name"]
    application = settings.ASGI_APPLICATION.replace(".application", ":application")
    command = [sys.executable, "-m", "daphne", *address, *quiet, application]
    return Child("web", command, log=log_directory() / "web.log")


def _start_workers() -> Child:
    size = ["--processes", "2", "--concurrency", "8", "--drain-seconds", str(DRAIN_SECONDS)]
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "runworkers", *size]
    return Child("workers", command, log=log_directory() / "workers.log")


def log_directory() -> Path:
    """Where the children's output goes."""
    return Path(settings.VAR_DIR) / "log"


def _wait_until_ready(port: int, children: list[Child], stop: threading.Event) -> None:
    waited = 0.0
    while not stop.is_set() and not is_ready(port):
        _require_alive(children)
        if waited > READY_SECONDS:
            raise LaunchFailed(f"Not ready within {READY_SECONDS} s; see {log_directory()}.")
        waited += 0.2
        stop.wait(0.2)


def is_ready(port: int) -> bool:
    """Whether the web process answers that it can serve."""
    web = HTTPConnection(HOST, port, timeout=5)
    try:
        web.request("GET", "/health/ready")
        return web.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        web.close()


def _watch(children: list[Child], load: Workload | None, stop: threading.Event) -> None:
    while not stop.wait(1):
        _require_alive(children)
        if load:
            _tick(load)


def _tick(load: Workload) -> None:
    close_old_connections()  # as a request does: a server that was restarted is found again
    try:
        load.tick()
    except OperationalError as error:
        _say(f"The workload skipped a moment: {error}")


def _require_alive(children: list[Child]) -> None:
    for child in children:
        if child.exit_code is not None:
            raise LaunchFailed(
                f"{child.name} ended unexpectedly (exit code {child.exit_code}). "
                f"The last lines of {child.log}:\n{child.last_lines()}"
            )


def _greeting(port: int, installation: Installation, children: list[Child]) -> str:
    logs = ", ".join(str(child.log) for child in children)
    return (
        f"API key: {installation.api_key}\n"
        f"Dashboard: http://{HOST}:{port}/\n"
        f"Login: {installation.login}\n"
        f"Logs: {logs}\n"
        "Try it:\n"
        f"  curl -X POST http://{HOST}:{port}/api/v1/jobs "
        f"-H 'Authorization: Bearer {installation.api_key}' "
        "-H 'Content-Type: application/json' "
        '-d \'{"task": "sum_to", "payload": {"n": 100}}\'\n'
        "Ctrl-C stops everything."
    )


def _farewell(stubborn: list[str]) -> str:
    counts = dict(Job.objects.values_list("status").annotate(Count("pk")).order_by())
    jobs = ", ".join(f"{counts[status]} {status}" for status in Status if status in counts)
    killed = f"Had to be killed: {', '.join(stubborn)}.\n" if stubborn else ""
    place = settings.VAR_DIR if connection.vendor == "sqlite" else "the database"
    return f"{killed}Stopped. Jobs: {jobs or 'none yet'}. The data is kept in {place}."


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
