"""The world of a run: programs that are killed and started again, proxies, and the database."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psutil
from django.conf import settings
from django.db import connections

from demo.processes import Child
from tests.faults.proxy import HOST, Proxy
from tests.postgres import Server, own_server

NODES, PROCESSES, SLOTS = 3, 2, 8
DRAIN_SECONDS = 3
STOP_SECONDS = 25
SKEW_SECONDS = 300
UNEXPECTED = "unexpected error"
"""What a role of a worker logs about an error that is not the database's."""


class Program:
    """Something that a service manager would start, and start again when it was killed."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, **env: str) -> None:
        self.name = name
        self.log = log
        self._command = ["env", *(f"{k}={v}" for k, v in env.items()), sys.executable, *command]
        self._child: Child | None = None
        self._is_killed = False
        self._orphans: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        """Of the program itself, now or before it ended."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start it."""
        self._child = Child(self.name, self._command, log=self.log)
        self._is_killed = False

    def kill(self, *, with_all: bool = False) -> None:
        """SIGKILL for it, or for all that it started too: as a machine that loses its power."""
        self._is_killed = True
        self._orphans += self.workers()
        send(os.killpg if with_all else os.kill, self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it and all that it ever started."""
        if self._child is not None:
            self.kill(with_all=True)
        for process in self._left():
            send(os.kill, process.pid, signal.SIGKILL)

    def keep(self) -> str:
        """Start it again if it was killed; answers what is wrong if it ended by itself."""
        assert self._child is not None
        code = self._child.exit_code
        if code is None:
            return ""
        problem = "" if self._is_killed else f"{self.name} ended by itself, with {code}"
        self.start()
        return problem

    def workers(self) -> list[psutil.Process]:
        """The worker processes of a supervisor."""
        try:
            return sorted(psutil.Process(self.pid).children(), key=lambda child: child.pid)
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> str:
        """Ask it to end, and wait; answers what is wrong if it did not, or not well."""
        assert self._child is not None
        self._child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while self._child.exit_code is None and time.monotonic() < deadline:
            time.sleep(0.05)
        code = self._child.exit_code
        self._child.kill()
        if left := [process.pid for process in self._left()]:
            return f"{self.name} left the processes {left} behind when it was killed"
        if code is None:
            return f"{self.name} did not end within {STOP_SECONDS} s when asked to"
        is_fine = code in {0, -signal.SIGTERM}
        return "" if is_fine else f"{self.name} ended with {code} when asked to"

    def _left(self) -> list[psutil.Process]:
        """Workers that are alive although their supervisor was killed, as they must not be."""
        _, alive = psutil.wait_procs(self._orphans, timeout=0)
        return [process for process in alive if _is_alive(process)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send(how: Callable[[int, int], None], pid: int, number: int) -> None:
    """Send a signal with `os.kill` or `os.killpg`, if anybody is there."""
    with suppress(ProcessLookupError):
        how(pid, number)


class World:
    """All of it, within its `with` block. Call `keep` often.

    On PostgreSQL each node, the web process and the clients reach the server through a proxy of
    their own. `skewed`: the second node has a wrong clock.
    """

    def __init__(self, *, skewed: bool) -> None:
        self.server: Server | None = own_server()
        self.complaints: list[str] = []
        self.web_port = _free_port()
        self._skewed = skewed
        self._stack = ExitStack()
        self.proxies: dict[str, Proxy] = {}
        self.nodes: list[Program] = []
        self.web: Program

    def __enter__(self) -> Self:
        names = [f"node {letter}" for letter in "abcdefgh"[:NODES]]
        if self.server:
            for name in (*names, "web", "clients"):
                self.proxies[name] = self._stack.enter_context(Proxy(self.server.port))
        self.nodes = [self._node(name) for name in names]
        self.web = self._web()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in self.programs:
            program.end()
        connections.close_all()
        self._stack.close()

    @property
    def programs(self) -> list[Program]:
        """Those that are kept running."""
        return [*self.nodes, self.web]

    def start(self) -> None:
        """Start the programs, and let our other threads reach the database through a proxy too."""
        for program in self.programs:
            program.start()
        if self.server:
            # This thread, which does and undoes the faults, must not wait for itself.
            ours = connections["default"]
            ours.settings_dict = dict(ours.settings_dict)
            connections.settings["default"]["PORT"] = self.proxies["clients"].port

    def keep(self) -> None:
        """Start again what was killed."""
        self.complaints += filter(None, (program.keep() for program in self.programs))

    def stop(self) -> None:
        """Ask all to end."""
        self.complaints += filter(None, (program.stop() for program in self.programs))
        for program in self.nodes:
            lines = program.log.read_text(errors="replace").splitlines()
            unexpected = [line for line in lines if UNEXPECTED in line]
            self.complaints += [f"{program.name} logged: {line}" for line in unexpected[:3]]

    def _node(self, name: str) -> Program:
        size = ("--processes", str(PROCESSES), "--concurrency", str(SLOTS))
        command = ("manage.py", "runworkers", *size, "--drain-seconds", str(DRAIN_SECONDS))
        env = {"DATABASE_URL": self._url(name)}
        if self._skewed and name == "node b":
            env["FAULTS_CLOCK_SKEW"] = str(SKEW_SECONDS)
        return Program(name, command, log=_log(name), **env)

    def _web(self) -> Program:
        quiet = ("--verbosity", "0", "--no-server-name")
        address = ("--bind", HOST, "--port", str(self.web_port))
        command = ("-m", "daphne", *address, *quiet, "jobqueue_project.asgi:application")
        return Program("web", command, log=_log("web"), DATABASE_URL=self._url("web"))

    def _url(self, name: str) -> str:
        url = os.environ["DATABASE_URL"]
        if not self.server:
            return url
        parts = urlsplit(url)
        at = f"{parts.username}:{parts.password}@{HOST}:{self.proxies[name].port}"
        return parts._replace(netloc=at).geturl()


def _log(name: str) -> Path:
    return Path(settings.VAR_DIR) / "log" / f"{name.replace(' ', '-')}.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
