"""The executor: runs held jobs, in threads, on an event loop, or in killable child processes."""

import asyncio
import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction

from django.db import close_old_connections

from jobs.errors import TaskOutcome
from jobs.store import Outcome
from workers import attempt, outcomes
from workers.children import Children
from workers.held import HeldJob, Stop
from workers.ledger import Ledger

_log = logging.getLogger(__name__)
_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Executor:
    """Starts jobs and hands their outcomes on. Threads are made as they are needed, up to `slots`.

    `finish(held, outcome)` is called once for each job that was started; the outcome is None where
    nothing may be recorded any more, because the lease was lost.
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
        self._queue: queue.SimpleQueue[HeldJob] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._in_threads = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._async_slots: asyncio.Semaphore | None = None
        self._children = Children(worker)

    def submit(self, jobs: Sequence[HeldJob]) -> None:
        """Run the jobs, each as soon as a slot is free."""
        on_loop = [held for held in jobs if _runs_on_loop(held)]
        in_threads = [held for held in jobs if not _runs_on_loop(held)]
        if on_loop:
            self._running_loop().call_soon_threadsafe(self._spawn, on_loop)
        for held in in_threads:
            self._queue.put(held)
        self._grow(len(in_threads))

    def kill_children(self) -> None:
        """End the child processes, whatever they do."""
        self._children.kill()

    def _grow(self, more: int) -> None:
        """Have a thread for each job that is in threads, as long as there are slots."""
        with self._lock:
            self._in_threads += more
            missing = min(self._in_threads, self._slots) - len(self._threads)
        for _ in range(missing):
            name = f"slot-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        """A slot: runs one job after the other."""
        while True:
            held = self._queue.get()
            if self._begin(held):
                self._end(held, self._run_here(held))
            with self._lock:
                self._in_threads -= 1

    def _begin(self, held: HeldJob) -> bool:
        if not held.begin():
            return False
        self._ledger.enter(held.lease)
        return True

    def _end(self, held: HeldJob, outcome: Outcome | None) -> None:
        if held.stop_reason is Stop.LOST:
            fields = attempt.described(held.job, self._worker)
            _log.warning("the lease was lost; what became of the attempt is dropped", extra=fields)
            outcome = None
        self._finish(held, outcome)

    def _run_here(self, held: HeldJob) -> Outcome | None:
        """Run in this thread, or in a child that this thread waits for."""
        if held.task.killable:
            return self._children.run(held)
        close_old_connections()
        try:
            outcome = self._run_interruptibly(held)
        finally:
            close_old_connections()
        return outcome

    def _run_interruptibly(self, held: HeldJob) -> Outcome:
        thread = threading.get_ident()

        def halt(reason: Stop) -> None:
            _raise_in_thread(ctypes.c_ulong(thread), ctypes.py_object(reason.exception))

        try:
            held.interruptible(halt)
            outcome = attempt.run(held.job, held.task, self._worker)
            held.uninterruptible()
            # An exception that was sent before the line above arrives at the latest in this loop.
            for _ in range(10):
                pass
        except TaskOutcome as late:
            held.uninterruptible()
            seconds = held.running_seconds(time.monotonic())
            return outcomes.of_error(held.job, held.task, late, seconds)
        return outcome

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._async_slots = asyncio.Semaphore(self._slots)
            threading.Thread(target=self._loop.run_forever, name="loop", daemon=True).start()
        return self._loop

    def _spawn(self, jobs: Sequence[HeldJob]) -> None:
        for held in jobs:
            task = asyncio.ensure_future(self._run_on_loop(held))
            task.add_done_callback(_report_unexpected)

    async def _run_on_loop(self, held: HeldJob) -> None:
        assert self._async_slots is not None
        async with self._async_slots:
            if not self._begin(held):
                return
            loop, this = asyncio.get_running_loop(), asyncio.current_task()
            assert this is not None
            held.interruptible(lambda _: _cancel(loop, this))
            outcome = await attempt.run_async(
                held.job, held.task, self._worker, lambda: held.stop_reason
            )
            held.uninterruptible()
            self._end(held, outcome)


def _cancel(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[object]") -> None:
    loop.call_soon_threadsafe(task.cancel)


def _runs_on_loop(held: HeldJob) -> bool:
    return iscoroutinefunction(held.task.func) and not held.task.killable


def _report_unexpected(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("running a job failed in the engine itself", exc_info=error)
