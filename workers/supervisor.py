"""The supervisor: starts worker processes, passes on signals, settles and replaces the dead."""

import logging
import os
import select
import signal
import socket
import time
from dataclasses import dataclass

from django.db import Error, connections
from django.db.models.functions import Now

from jobs import store
from jobs.conf import conf
from jobs.models import Worker
from jobs.statuses import WorkerRequest
from workers import outcomes
from workers.ledger import Ledger
from workers.process import (
    ABORT_SIGNAL,
    DRAIN_SIGNAL,
    RETIRED,
    SIGNALS,
    STOPPED,
    Options,
    WorkerProcess,
    new_worker_id,
)

REST_SECONDS = 0.25
STABLE_SECONDS = 10
MAX_RESTART_SECONDS = 30
ABORT_SECONDS = 8
SETTLE_AGAIN_SECONDS, SETTLE_PASSES = 1, 2
LAST_SETTLE_SECONDS = 5
"""How long, at the end, the jobs of dead processes are tried to be settled."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Dead:
    """A process that died, whose jobs are still to be settled."""

    worker: str
    ledger: Ledger
    passes: int = 0


@dataclass(slots=True)
class _Alive:
    worker: str
    ledger: Ledger
    started_at: float


class Supervisor:
    """Keeps `processes` worker processes running until a signal ends it.

    One that people asked to stop is not replaced; with the last of them it ends, too.
    """

    def __init__(self, processes: int, options: Options) -> None:
        self._wanted = processes
        self._options = options
        self._alive: dict[int, _Alive] = {}
        self._unsettled: list[_Dead] = []
        self._signals = 0
        self._wakes, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        self._kill_at: float | None = None
        self._is_aborting = False
        self._restart_at = 0.0
        self._settle_at = 0.0
        self._crashes = 0

    def run(self) -> int:
        """Supervise; answers the exit status: 0 after a drain, or when nobody is left."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # so that it wakes us
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        while self._alive or not (self._signals or not self._wanted):
            self._pass_on()
            self._start_missing()
            self._collect()
            self._settle()
            self._insist()
            self._rest()
        deadline = time.monotonic() + LAST_SETTLE_SECONDS
        while self._unsettled and time.monotonic() < deadline:
            self._settle()
            self._rest()
        return 0

    def _rest(self) -> None:
        """Until a signal comes: a child's end is one too."""
        if select.select([self._wakes], [], [], REST_SECONDS)[0]:
            self._wakes.recv(1_024)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1

    def _pass_on(self) -> None:
        """The first signal drains, the second aborts."""
        now = time.monotonic()
        if self._signals >= 1 and self._kill_at is None:
            self._kill_at = now + self._options.drain_seconds + ABORT_SECONDS
            self._send(DRAIN_SIGNAL)
        if self._signals >= 2 and not self._is_aborting:
            self._is_aborting = True
            self._kill_at = now + ABORT_SECONDS
            self._send(ABORT_SIGNAL)

    def _send(self, number: int) -> None:
        for pid in list(self._alive):
            os.kill(pid, number)

    def _start_missing(self) -> None:
        while (
            not self._signals
            and len(self._alive) < self._wanted
            and time.monotonic() >= self._restart_at
        ):
            self._start_one()

    def _start_one(self) -> None:
        # As many as are held, and once more those that have ended and are just being recorded.
        most = self._options.concurrency + 4 * conf().claim_batch + conf().finish_batch
        ledger = Ledger(most)
        worker = new_worker_id()
        connections.close_all()  # a connection must not be shared by two processes
        # Held back until the new process has handlers of its own, so that none gets lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_worker(worker, ledger, supervisor)
        self._alive[pid] = _Alive(worker, ledger, time.monotonic())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _become_worker(self, worker: str, ledger: Ledger, supervisor: int) -> None:
        """In the new process; never returns."""
        status = 1
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            status = WorkerProcess(worker, self._options, ledger, supervisor).run()
        except BaseException:
            _log.exception("the worker process failed")
        finally:
            logging.shutdown()
            os._exit(status)

    def _collect(self) -> None:
        """Take note of processes that ended."""
        for pid in list(self._alive):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(self._alive.pop(pid), os.waitstatus_to_exitcode(status))

    def _bury(self, process: _Alive, exit_code: int) -> None:
        if exit_code == 0:
            process.ledger.close()
            return
        self._unsettled.append(_Dead(process.worker, process.ledger))
        if exit_code == STOPPED or _was_asked_to_stop(process.worker):
            self._wanted -= 1
            return
        if exit_code == RETIRED:
            return
        _log.error(
            f"a worker process died with {exit_code}; it is replaced",
            extra={"worker": process.worker},
        )
        stable = time.monotonic() - process.started_at > STABLE_SECONDS
        self._crashes = 0 if stable else self._crashes + 1
        wait = 0 if stable else min(MAX_RESTART_SECONDS, 0.1 * 2 ** min(self._crashes, 10))
        self._restart_at = time.monotonic() + wait

    def _settle(self) -> None:
        """Settle the dead, one after the other; while the database is away, later."""
        while self._unsettled and time.monotonic() >= self._settle_at:
            try:
                self._settle_one(self._unsettled[0])
            except Error as error:
                _log.warning(f"a dead worker's jobs are settled later: {error}")
                connections.close_all()
                self._settle_at = time.monotonic() + SETTLE_AGAIN_SECONDS
            else:
                self._next_unsettled()

    def _next_unsettled(self) -> None:
        """Each is settled twice: what it was writing when it died may still have been locked."""
        dead = self._unsettled.pop(0)
        dead.passes += 1
        if dead.passes < SETTLE_PASSES:
            self._unsettled.append(dead)
        else:
            dead.ledger.close()
        if all(other.passes for other in self._unsettled):
            self._settle_at = time.monotonic() + SETTLE_AGAIN_SECONDS

    def _settle_one(self, dead: _Dead) -> None:
        """Record what it had started as lost, and give back what it had only claimed."""
        lost, released = store.lose_worker(dead.worker, dead.ledger.read(), outcomes.loss_delay)
        Worker.objects.filter(pk=dead.worker, stopped_at=None).update(stopped_at=Now(), running=0)
        for job_id in lost:
            _log.warning(
                "the attempt counts as lost: its worker process died",
                extra={"job_id": str(job_id), "worker": dead.worker},
            )
        if lost or released or not dead.passes:
            fields = {"worker": dead.worker, "count": len(released)}
            _log.info("settled a dead worker", extra=fields)

    def _insist(self) -> None:
        """Kill what has not ended in time."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._send(signal.SIGKILL)


def _was_asked_to_stop(worker: str) -> bool:
    """Whether people wanted the process gone, which died or retired before it had said so."""
    try:
        return Worker.objects.filter(pk=worker, asked_to=WorkerRequest.STOP).exists()
    except Error as error:
        connections.close_all()
        _log.warning(f"a dead worker is replaced, whatever was asked: {error}")
        return False
