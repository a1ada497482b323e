"""Killable jobs: each runs in a child process that a timeout or a cancel ends, come what may."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import cast

from jobs.store import Outcome
from workers import outcomes
from workers.child import IGNORED_BY_CHILDREN, Report
from workers.held import HeldJob
from workers.logbook import book


@contextmanager
def _deaf() -> Iterator[None]:
    """What starts in here has signals held back until it asks for them.

    A signal to the whole group must not end a child that has not yet come to ignore it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_BY_CHILDREN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Child:
    """A child process that runs one job at a time. It ends when its parent does."""

    def __init__(self, worker: str) -> None:
        ours, theirs = socket.socketpair()
        parent = str(os.getpid())
        with theirs, _deaf():
            self._process = subprocess.Popen(  # noqa: S603  (our own program)
                [sys.executable, "-m", "django", "runchild", str(theirs.fileno()), worker, parent],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._pipe = Connection(ours.detach())

    def run(self, held: HeldJob) -> Outcome | None:
        """Run the job; None if the child died over it."""
        try:
            self._pipe.send(held.job)
            while True:
                lines, outcome = cast(Report, self._pipe.recv())
                book.add(lines)
                if outcome:
                    return outcome
        except (EOFError, OSError):
            return None

    def is_alive(self) -> bool:
        """Whether it can still run jobs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the child and all that it started, now. Does not wait."""
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)

    def bury(self) -> None:
        """Kill the child and wait for its end."""
        self.kill()
        self._process.wait()
        self._pipe.close()


class Children:
    """The children of a worker process: made as they are needed, used again while they live."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._lock = threading.Lock()

    def run(self, held: HeldJob) -> Outcome | None:
        """Run the job in a child and wait for its outcome."""
        child = self._take()
        held.interruptible(lambda _: child.kill())
        outcome = child.run(held)
        held.uninterruptible()
        if outcome is None or held.stop_reason:  # it may be dying, and the next job with it
            self._forget(child)
            return outcome or self._outcome_of_death(held)
        with self._lock:
            self._idle.append(child)
        return outcome

    def kill(self) -> None:
        """End all of them."""
        with self._lock:
            children = list(self._all)
        for child in children:
            child.kill()

    def _take(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                self._all.discard(child)
        child = Child(self._worker)
        with self._lock:
            self._all.add(child)
        return child

    def _forget(self, child: Child) -> None:
        child.bury()
        with self._lock:
            self._all.discard(child)

    def _outcome_of_death(self, held: HeldJob) -> Outcome | None:
        if held.stop_reason:
            return outcomes.of_stop(held)
        return outcomes.of_loss(held.job, "The child process that ran the job died.")
