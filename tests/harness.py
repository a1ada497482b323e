"""Real processes of the project on the test database: start them, signal them, kill them.

A test that uses one needs `@pytest.mark.django_db(transaction=True)`: the processes see only what
was committed.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote

import psutil
from django.conf import settings
from django.db import connection

from jobs.models import Worker

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")
START_SECONDS = 60
STOP_SECONDS = 30


def wait_until(condition: Callable[[], T], timeout: float = 60, what: str = "") -> T:
    """Wait until the condition holds and answer what it returned; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'the condition'}: not within {timeout} seconds")
        time.sleep(0.02)
    return value


def environment(**tunables: object) -> dict[str, str]:
    """What a process of the project needs to work on the test database, with these tunables."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "jobqueue_project.settings",
        "DATABASE_URL": database_url(),
        "VAR_DIR": str(settings.VAR_DIR),
        "JOBQUEUE": json.dumps(tunables),
    }


def database_url() -> str:
    """The `DATABASE_URL` of the test database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    login = f"{quote(database['USER'])}:{quote(database['PASSWORD'])}"
    return f"postgres://{login}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


class ProjectProcess:
    """A process of the project in a session of its own, its output kept for the failure message."""

    def __init__(self, *command: str, env: Mapping[str, str]) -> None:
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115  (closed in __exit__)
        self.popen = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._output.close()

    @property
    def pid(self) -> int:
        """Of the process itself, not of what it started."""
        return self.popen.pid

    @property
    def output(self) -> str:
        """Everything it wrote so far."""
        return Path(self._output.name).read_text()  # to seek here would move where it writes

    def family(self) -> list[psutil.Process]:
        """The process and all that it started, as far as alive."""
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def send(self, signal_number: int) -> None:
        """Send it a signal."""
        self.popen.send_signal(signal_number)

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Wait for its end; answers the exit code."""
        return self.popen.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for it and all that it started, at once: a machine that lost its power."""
        for process in self.family():
            process.kill()
        self.wait()

    def stop(self) -> int:
        """SIGTERM, and after `STOP_SECONDS` SIGKILL; answers the exit code."""
        family = self.family()
        if self.popen.poll() is None:
            self.send(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for process in alive:
            process.kill()
        return self.wait()


class WorkerProcess(ProjectProcess):
    """`manage.py runworkers` with one process of four slots, unless told otherwise."""

    def __init__(self, *arguments: str, **tunables: object) -> None:
        options = ("--processes", "1", "--concurrency", "4", *arguments)
        super().__init__("manage.py", "runworkers", *options, env=environment(**tunables))

    def wait_until_ready(self) -> None:
        """Wait until its workers have announced themselves."""
        wait_until(self._is_announced, START_SECONDS, "the workers announce themselves")

    def worker_ids(self) -> list[str]:
        """The ids under which its processes announced themselves."""
        pids = [process.pid for process in self.family()]
        return list(
            Worker.objects.filter(pid__in=pids, stopped_at=None).values_list("pk", flat=True)
        )

    def _is_announced(self) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(f"runworkers ended with {self.popen.returncode}:\n{self.output}")
        return bool(self.worker_ids())


@contextmanager
def running_workers(
    *arguments: str, count: int = 1, **tunables: object
) -> Iterator[list[WorkerProcess]]:
    """`count` independent `manage.py runworkers`, ready when the block begins, gone at its end.

    `arguments` are those of the command, and win over the defaults; `tunables` are keys of
    `jobs.conf.Conf`, such as `lease_seconds=3`.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(WorkerProcess(*arguments, **tunables)) for _ in range(count)]
        for worker in workers:
            worker.wait_until_ready()
        try:
            yield workers
        except Exception as error:
            for worker in workers:
                error.add_note(f"A worker's last words:\n{worker.output[-3_000:]}")
            raise
