"""One worker process: its roles in one visible list, its drain, its end."""

import gc
import logging
import os
import platform
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from django.db import Error, connections
from django.db.models.functions import Now

from jobs import __version__, registry, store, wakeup
from jobs.data_keys import environment_keys
from jobs.models import Worker
from jobs.statuses import WorkerRequest
from workers import attempt
from workers.claimer import Claimer
from workers.executor import Executor
from workers.finisher import Finisher
from workers.heartbeat import Heartbeat
from workers.held import HeldJob, HeldJobs, Stop
from workers.ledger import Ledger
from workers.listener import Listener
from workers.logbook import book
from workers.operator import Operator
from workers.promoter import Promoter
from workers.purger import Purger
from workers.reaper import Reaper
from workers.watchdog import Watchdog

DRAIN_SIGNAL, ABORT_SIGNAL = signal.SIGUSR1, signal.SIGUSR2
"""How the supervisor speaks to its worker processes."""
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, DRAIN_SIGNAL, ABORT_SIGNAL})
RETIRED = 3
"""Exit status of a process that has to be replaced because a job in it would not stop."""
STOPPED = 4
"""Exit status of a process that somebody has asked to stop, and that is not replaced."""

LOOK_SECONDS = 0.25
STOP_SECONDS = 1
FINISH_SECONDS = 5
"""The finisher has longer to stop than others: what it is recording is still to be counted."""

RECORD_SECONDS = 2
"""So long what has ended in time is waited for to be recorded."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What `runworkers` was told. `queues` of nothing means all; durations in seconds."""

    concurrency: int
    queues: frozenset[str]
    tags: frozenset[str]
    drain_seconds: float


def new_worker_id() -> str:
    """An id of this incarnation, never used again, that a person can place."""
    return f"{socket.gethostname()[:40]}:{uuid.uuid4().hex[:12]}"


def _freeze_what_stays() -> None:
    """Let no collection walk over all that was loaded: that took a tenth of a drain's time."""
    gc.collect()
    gc.freeze()


class WorkerProcess:
    """Claims and runs jobs until it is told to drain, or its supervisor, a process id, is gone."""

    def __init__(self, worker: str, options: Options, ledger: Ledger, supervisor: int) -> None:
        self._worker = worker
        self._supervisor = supervisor
        self._options = options
        self._ledger = ledger
        self._held = HeldJobs(options.concurrency)
        self._draining = threading.Event()
        self._aborting = threading.Event()
        self._retired = False
        self._was_asked_to_stop = False
        self._finisher = Finisher(worker, self._held, ledger)
        self._executor = Executor(worker, options.concurrency, ledger, self._finisher.put)
        self._claimer = Claimer(
            worker,
            self._held,
            queues=options.queues,
            tags=options.tags,
            run=self._executor.submit,
        )
        self._promoter = Promoter(self._claimer.wake)
        self._operator = Operator(worker)
        self._finisher.by(self._claimer.finish)
        self._finisher.on_room(self._claimer.wake)
        self._finisher.on_retry(self._promoter.wake)
        self._roles = [
            self._finisher,
            Heartbeat(worker, self._held, register=self._register, obey=self._obey),
            Watchdog(worker, self._held, self._finisher.put, retire=self._retire),
            Reaper(worker),
            Purger(worker),
            self._operator,
            self._promoter,
            Listener(self._heard),
            self._claimer,
        ]

    def run(self) -> int:
        """Work until drained; answers the exit status."""
        self._install_signals()
        registry.discover()
        attempt.silence_unheard_logging()
        book.open()
        _freeze_what_stays()
        self._register()
        for role in self._roles:
            role.start()
        _log.info("worker process started", extra={"worker": self._worker})
        while os.getppid() == self._supervisor and not self._draining.wait(LOOK_SECONDS):
            now = time.monotonic()
            self._give_back([one for one in self._held.snapshot() if one.is_stale(now)])
            if not all(role.is_alive for role in self._roles):
                raise RuntimeError("a role of the worker process has ended")
        self._drain()
        if self._was_asked_to_stop:
            return STOPPED
        return RETIRED if self._retired else 0

    def drain(self) -> None:
        """Stop claiming, let running jobs finish for the time allowed, give back the rest."""
        self._draining.set()

    def _heard(self) -> None:
        self._claimer.hear()
        self._promoter.wake()
        self._operator.wake()

    def _obey(self, request: str) -> None:
        """Stop for good, take no more jobs, or take them again, as was asked on the pages."""
        _log.info(f"asked to {request or 'go on'}", extra={"worker": self._worker})
        if request == WorkerRequest.STOP:
            self._was_asked_to_stop = True
            self.drain()
        elif not self._draining.is_set():
            is_quiet = request == WorkerRequest.QUIET
            self._claimer.set_quiet(is_quiet)
            Worker.objects.filter(pk=self._worker).update(is_draining=is_quiet)

    def _retire(self) -> None:
        self._retired = True
        self.drain()

    def _install_signals(self) -> None:
        signal.signal(DRAIN_SIGNAL, lambda number, frame: self._draining.set())
        signal.signal(ABORT_SIGNAL, lambda number, frame: self._aborting.set())
        # These may go to the whole group and again through the supervisor: more than one of them
        # is no reason to abort, which is the supervisor's to say.
        signal.signal(signal.SIGTERM, lambda number, frame: self._draining.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _register(self) -> None:
        Worker.objects.create(
            id=self._worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=sorted(self._options.queues),
            tasks=sorted(registry.exposed_tasks()),
            tags=sorted(self._options.tags),
            environment_keys=",".join(environment_keys()),
            slots=self._options.concurrency,
            version=__version__,
            python_version=platform.python_version(),
            started_at=Now(),
            seen_at=Now(),
        )

    def _drain(self) -> None:
        """Claims stop first, heartbeats last."""
        _log.info("draining", extra={"worker": self._worker, "count": len(self._held)})
        self._claimer.stop(timeout=2)
        self._attempt(self._claimer.return_strange)
        self._retired |= self._claimer.is_in_doubt
        self._attempt(lambda: Worker.objects.filter(pk=self._worker).update(is_draining=True))
        self._give_back(self._held.snapshot())
        self._wait_for_running()
        left = [one for one in self._held.snapshot() if not (one.stop_reason or one.ended_at)]
        for held in left:
            held.stop(Stop.DRAIN)
        self._executor.kill_children()
        if not self._attempt(lambda: store.release([held.lease for held in left])):
            self._retired = True  # the supervisor settles what could not be given back
        self._held.wait_recorded(RECORD_SECONDS)
        if any(one.stop_reason is not Stop.DRAIN for one in self._held.snapshot()):
            self._retired = True
        for role in self._roles:
            role.stop(timeout=FINISH_SECONDS if role is self._finisher else STOP_SECONDS)
        self._attempt(self._sign_off)
        _log.info("drained", extra={"worker": self._worker, "count": len(left)})
        connections.close_all()

    def _wait_for_running(self) -> None:
        """Until nothing runs, the time is over, or an abort was asked for."""
        waited = 0.0
        while len(self._held) and waited < self._options.drain_seconds:
            if self._aborting.is_set():
                return
            late = [one for one in self._held.snapshot() if one.started_at is None]
            self._give_back([one for one in late if not one.is_withdrawn])
            self._held.wait_empty(0.1)
            waited += 0.1

    def _give_back(self, held: list[HeldJob]) -> None:
        """Return jobs that have not started, their attempts unspent."""
        withdrawn = [one for one in held if one.withdraw()]
        leases = [one.lease for one in withdrawn]
        if leases and self._attempt(lambda: store.release(leases)):
            self._held.remove(withdrawn)
            self._executor.forget_withdrawn()
            wakeup.signal()

    def _sign_off(self) -> None:
        Worker.objects.filter(pk=self._worker).update(stopped_at=Now(), running=0)

    def _attempt(self, write: Callable[[], object]) -> bool:
        """A write that we can go on without: it is done again, or the leases run out.

        Answers whether it was done.
        """
        try:
            write()
        except Error as error:
            connections.close_all()
            _log.warning(f"the database did not answer: {error}", extra={"worker": self._worker})
            return False
        return True
