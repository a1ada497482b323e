"""The executor: runs held jobs, in threads, on an event loop, or in killable child processes."""

import asyncio
import ctypes
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from inspect import iscoroutinefunction

from asgiref.sync import sync_to_async
from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from jobs.errors import StopRequest
from jobs.statuses import Status
from jobs.store import Outcome
from workers import attempt, outcomes
from workers.children import Children
from workers.held import HeldJob, Stop
from workers.ledger import Ledger

_log = logging.getLogger(__name__)
_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Executor:
    """Runs up to `slots` jobs at once, whatever they run in; the others wait in order.

    Threads are made as they are needed. `finish(held, outcome)` is called for each job that was
    started, by the watchdog for one that does not stop; the outcome is None where nothing is to be
    recorded, as the lease was lost or the job is given back.
    """

    def __init__(
        self,
        worker: str,
        slots: int,
        ledger: Ledger,
        finish: Callable[[HeldJob, Outcome | None], None],
    ) -> None:
        self._worker = worker
        self._slots = slots
        self._ledger = ledger
        self._finish = finish
        self._lock = threading.Lock()
        self._waiting: deque[HeldJob] = deque()
        self._running = 0
        self._for_idle: queue.SimpleQueue[HeldJob] = queue.SimpleQueue()
        self._idle = self._threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._children = Children(worker)

    def submit(self, jobs: Sequence[HeldJob]) -> None:
        """Run the jobs, each as soon as a slot is free."""
        with self._lock:
            self._waiting.extend(jobs)
        self._start_next()

    def forget_withdrawn(self) -> None:
        """Let go of jobs that were given back before they started."""
        with self._lock:
            self._waiting = deque(held for held in self._waiting if not held.is_withdrawn)

    def kill_children(self) -> None:
        """End the child processes, whatever they do."""
        self._children.kill()

    def _start_next(self) -> None:
        """Start one waiting job in a thread, and all that come before it on the loop.

        One, because every thread that gets a job calls this before it runs it: threads join in one
        after the other, and jobs that are over in a moment do not make ten contend for the GIL.
        """
        on_loop = []
        with self._lock:
            while self._waiting and self._running < self._slots:
                held = self._waiting.popleft()
                self._running += 1
                if not _runs_on_loop(held):
                    self._give_to_thread(held)
                    break
                on_loop.append(held)
        if on_loop:
            self._running_loop().call_soon_threadsafe(self._spawn, on_loop)

    def _give_to_thread(self, held: HeldJob) -> None:
        if self._idle:
            self._idle -= 1
            self._for_idle.put(held)
            return
        name = f"slot-{self._threads + 1}"
        thread = threading.Thread(target=self._serve, args=[held], name=name, daemon=True)
        try:
            thread.start()
            self._threads += 1
        except RuntimeError:  # no more threads to be had: it waits for one of those there are
            _log.exception("a thread could not be started", extra={"worker": self._worker})
            self._waiting.appendleft(held)
            self._running -= 1

    def _serve(self, first: HeldJob) -> None:
        """A thread: runs one job after the other."""
        attempt.prepare_thread()
        held: HeldJob | None = first
        while True:
            held = held or self._for_idle.get()
            try:
                self._start_next()
                if self._begin(held):
                    self._end(held, self._run_contained(held))
            finally:
                held = self._next_in_slot(in_thread=True)

    def _next_in_slot(self, *, in_thread: bool) -> HeldJob | None:
        """The job that goes on in a slot whose job has ended, if it can; else the slot is free."""
        with self._lock:
            if self._waiting and in_thread is not _runs_on_loop(self._waiting[0]):
                return self._waiting.popleft()
            self._running -= 1
            self._idle += in_thread
        self._start_next()
        return None

    def _begin(self, held: HeldJob) -> bool:
        if not held.begin():
            return False
        self._ledger.enter(held)
        return True

    def _end(self, held: HeldJob, outcome: Outcome | None) -> None:
        if held.stop_reason is Stop.LOST:
            fields = attempt.described(held.job, self._worker)
            _log.warning("the lease was lost; what became of the attempt is dropped", extra=fields)
        given_up = held.stop_reason in {Stop.LOST, Stop.DRAIN}
        self._finish(held, None if given_up else outcome)

    def _run_contained(self, held: HeldJob) -> Outcome | None:
        """Run in this thread, or in a child that it waits for; whatever happens, it ends."""
        try:
            if held.task.killable:
                return self._children.run(held)
            return self._run_here(held)
        except BaseException as error:
            return self._broken_down(held, error)

    def _run_here(self, held: HeldJob) -> Outcome | None:
        try:
            return self._run_interruptibly(held)
        finally:
            _tidy_connections()

    def _run_interruptibly(self, held: HeldJob) -> Outcome | None:
        thread = threading.get_ident()

        def halt(reason: Stop) -> None:
            _raise_in_thread(ctypes.c_ulong(thread), ctypes.py_object(reason.exception))

        try:
            held.interruptible(halt)
            outcome: Outcome | None = attempt.run(held.job, held.task, self._worker)
            held.uninterruptible()
            # An exception that was sent before the line above arrives at the latest in this loop.
            for _ in range(10):
                pass
        except StopRequest as request:
            held.uninterruptible()
            outcome = self._stopped(held, request)
        return outcome

    def _stopped(self, held: HeldJob, request: BaseException) -> Outcome | None:
        outcome = outcomes.of_stop(held, request)
        if outcome:
            attempt.conclude(held.job, held.task, self._worker, outcome, None)
        return outcome

    def _broken_down(self, held: HeldJob, error: BaseException) -> Outcome:
        seconds = held.running_seconds(time.monotonic())
        outcome = outcomes.of_breakdown(held.job, error, seconds)
        # The attempt keeps the traceback; in a log, the job's own error in it could tell a payload.
        fields = attempt.described(held.job, self._worker) | {"error_type": outcome.error_type}
        _log.error("an attempt could not be concluded", extra=fields)
        return outcome

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
            return self._loop

    def _spawn(self, jobs: Sequence[HeldJob]) -> None:
        """On the loop: each in a context of its own, not in that of a job which has just ended."""
        loop = asyncio.get_running_loop()
        for held in jobs:
            task = loop.create_task(self._serve_on_loop(held), context=Context())
            task.add_done_callback(_report_unexpected)

    async def _serve_on_loop(self, held: HeldJob) -> None:
        try:
            if self._begin(held):
                self._end(held, await self._run_on_loop(held))
        finally:
            if follower := self._next_in_slot(in_thread=False):
                self._spawn([follower])

    async def _run_on_loop(self, held: HeldJob) -> Outcome | None:
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None
        held.interruptible(lambda _: _cancel(loop, this))
        outcome: Outcome | None
        try:
            outcome = await attempt.run_async(
                held.job, held.task, self._worker, lambda: held.stop_reason is not None
            )
        except asyncio.CancelledError as request:
            outcome = self._stopped(held, request)
        except BaseException as error:
            outcome = self._broken_down(held, error)
        held.uninterruptible()
        if outcome is None or outcome.status is not Status.DONE:
            # It may have failed over a connection that is broken, which the next one would get.
            with suppress(asyncio.CancelledError):  # a stop that came too late
                await sync_to_async(close_old_connections)()
        return outcome


def _cancel(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[object]") -> None:
    loop.call_soon_threadsafe(task.cancel)


def _runs_on_loop(held: HeldJob) -> bool:
    return iscoroutinefunction(held.task.func) and not held.task.killable


class _Connected(threading.local):
    """Whether this thread has ever connected to a database: Django's own look costs more."""

    is_so = False


_connected = _Connected()


@receiver(connection_created)
def _note_connection(**kwargs: object) -> None:
    _connected.is_so = True


def _tidy_connections() -> None:
    """What Django does between requests, for the next job of this thread.

    A job that was stopped in a transaction leaves a connection that nobody may go on with.
    """
    if not _connected.is_so:
        return
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
            del connections[connection.alias]
        else:
            connection.close_if_unusable_or_obsolete()


def _report_unexpected(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("running a job failed in the engine itself", exc_info=error)
