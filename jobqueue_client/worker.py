"""A worker: runs a tenant's jobs with functions of this process, as many at a time as it has slots.

Every job runs in a thread of its own. One more thread keeps the leases while they run, so that a
busy handler cannot lose its job, and hears which of them are to stop.
"""

import logging
import re
import socket
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobqueue_client import leases
from jobqueue_client.client import Client
from jobqueue_client.errors import (
    ApiError,
    Discard,
    InvalidRequest,
    JobQueueError,
    LimitReached,
    Retry,
    Unavailable,
    Unreachable,
)
from jobqueue_client.logbook import LogBook
from jobqueue_client.logbook import running as running_job
from jobqueue_client.models import LeasedJob, Report
from jobqueue_client.protocol import Call, answered, backoff

WAIT_SECONDS = 5.0
"""How long the queue holds an answer without jobs: so long can it take until a stop is heeded."""
LONGEST_BEAT_SECONDS = 5.0
LOOK_SECONDS = 0.2
"""How often a worker without a free slot looks whether it was stopped."""
LOG_SECONDS = 1.0
LAST_SECONDS = 5.0
"""For jobs that were asked to stop at the worker's end."""
PASSING = (Unreachable, Unavailable, LimitReached)

Handler = Callable[[LeasedJob], Any]
logger = logging.getLogger("jobqueue_client")


class Worker:
    """Runs jobs of these tasks. `handlers` are functions by the tasks' names.

    A handler takes the `LeasedJob` and answers its result, anything that is JSON. It raises `Retry`
    or `Discard` to decide; any other exception is a failed attempt. Leases last for
    `lease_seconds` (5 to 3,600) after the last sign of life. `name` is how the queue shows this
    worker, by default the machine's name.
    """

    def __init__(
        self,
        client: Client,
        handlers: Mapping[str, Handler],
        *,
        queues: Sequence[str] = (),
        tags: Sequence[str] = (),
        slots: int = 1,
        lease_seconds: float = 30,
        grace_seconds: float = 25,
        name: str | None = None,
    ) -> None:
        if not handlers or not 1 <= slots <= leases.MOST_REPORTED:
            raise ValueError(f"A worker needs a handler, and 1 to {leases.MOST_REPORTED} slots.")
        self._client, self._handlers, self._slots = client, dict(handlers), slots
        self._lease_seconds, self._grace_seconds = lease_seconds, grace_seconds
        self._wish: leases.Wish = {
            "tasks": sorted(handlers),
            "lease_seconds": lease_seconds,
            "worker": name or _name_of_machine(),
        }
        if queues:
            self._wish["queues"] = list(queues)
        if tags:
            self._wish["tags"] = list(tags)
        self._held: dict[str, LeasedJob] = {}
        self._book = LogBook()
        self._telling = threading.Lock()
        self._running = 0
        self._changed = threading.Condition()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Take no more jobs, and let `run` end. From any thread, or a signal's handler."""
        self._stopped.set()

    def run(self, *, drain: bool = False) -> None:
        """Run jobs until `stop`, with `drain` until there are none left that could run now.

        Running jobs then have `grace_seconds`; what has not ended goes back, its attempt unspent.
        Waits as long as it takes while the queue does not answer; if it refuses, running jobs have
        their grace, too, and then `ApiError` is raised.
        """
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep_leases, args=(ended,), name="jobqueue-leases")
        teller = threading.Thread(target=self._tell_logs, args=(ended,), name="jobqueue-log")
        logging.getLogger().addHandler(self._book)
        keeper.start()
        teller.start()
        try:
            self._take_jobs(drain=drain)
            self._wait_for_running()
        except JobQueueError:
            self._wait_for_running()
            raise
        finally:  # also when Ctrl-C cuts the waiting short
            try:
                self._stop_running()
            finally:
                ended.set()
                keeper.join()
                teller.join()
                logging.getLogger().removeHandler(self._book)

    def _take_jobs(self, *, drain: bool) -> None:
        failures = 0
        while room := self._wait_for_room():
            try:
                jobs, pause = self._ask(room, wait_seconds=0 if drain else WAIT_SECONDS)
            except PASSING as error:
                failures += 1
                pause = self._pause(error, failures)
                logger.warning("%s Asking for jobs again in %.1f s", error, pause)
            else:
                failures = 0
                self._take(jobs)
                if drain and not jobs and self._is_idle():
                    return
            self._stopped.wait(pause)

    def _wait_for_room(self) -> int:
        """How many slots are free, once one is; 0 when it is time to stop."""
        with self._changed:
            while not self._stopped.is_set():
                if room := self._slots - self._running:
                    return room
                self._changed.wait(LOOK_SECONDS)
        return 0

    def _ask(self, room: int, *, wait_seconds: float) -> leases.Granted:
        """One try: what to do while nobody answers is the loop's to decide."""
        wish: leases.Wish = {
            **self._wish,
            "max_jobs": min(room, leases.MOST_AT_ONCE),
            "wait_seconds": wait_seconds,
        }
        once = replace(self._client.patience, give_up_after_seconds=0)
        return self._client.run(answered(leases.lease(wish), once))

    def _pause(self, error: JobQueueError, failures: int) -> float:
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        return (asked or 0) + backoff(failures, self._client.patience.chance)

    def _take(self, jobs: Sequence[LeasedJob]) -> None:
        if jobs and self._stopped.is_set():
            self._give_back(jobs)
            return
        for job in jobs:
            self._start(job)

    def _start(self, job: LeasedJob) -> None:
        with self._changed:
            self._held[job.id] = job
            self._running += 1
        name = f"jobqueue-{job.id}"
        threading.Thread(target=self._run_job, args=(job,), name=name, daemon=True).start()

    def _run_job(self, job: LeasedJob) -> None:
        try:
            outcome = self._outcome(job)
            self._tell_log([job])
            self._book.forget(job)
            self._report(job, outcome)
        except JobQueueError as error:
            logger.error("%s %s: what became of it could not be told: %s", job.id, job.task, error)  # noqa: TRY400
        finally:
            with self._changed:
                self._drop(job)
                self._running -= 1
                self._changed.notify_all()

    def _drop(self, job: LeasedJob) -> None:
        """Keep its lease no longer. A later lease of the same job is another one."""
        if self._held.get(job.id) is job:
            del self._held[job.id]

    def _outcome(self, job: LeasedJob) -> Call[Sequence[Report]]:
        running_job.set(job)  # of this thread, which ends with the job
        try:
            return leases.acknowledge(job, self._handlers[job.task](job))
        except BaseException as error:  # asyncio's CancelledError is no Exception
            return leases.release([job]) if job.stopping.is_set() else _failure(job, error)

    def _tell_logs(self, ended: threading.Event) -> None:
        while not ended.wait(LOG_SECONDS):
            self._tell_log(self._all_held())

    def _tell_log(self, jobs: Sequence[LeasedJob]) -> None:
        """Tell what the jobs have logged. Lines that cannot be told are lost, no more."""
        once = replace(self._client.patience, give_up_after_seconds=0)
        with self._telling:
            try:
                while told := self._book.take(jobs):
                    self._client.run(answered(leases.log(told), once))
            except JobQueueError as error:
                logger.warning("What jobs logged could not be told: %s", error)

    def _report(self, job: LeasedJob, outcome: Call[Sequence[Report]]) -> None:
        try:
            (told,) = self._client.call(outcome)
        except InvalidRequest as error:  # a result that the queue cannot keep
            (told,) = self._client.call(_unfit(job, error.code, error.detail))
        if told.code == "too_large":
            (told,) = self._client.call(_unfit(job, told.code, told.detail or ""))
        logger.info("%s %s: %s", job.id, job.task, told.status if told.ok else told.detail)

    def _keep_leases(self, ended: threading.Event) -> None:
        every = min(self._lease_seconds / 3, LONGEST_BEAT_SECONDS)
        patience = replace(
            self._client.patience,
            timeout_seconds=min(self._client.patience.timeout_seconds, self._lease_seconds / 3),
            give_up_after_seconds=every,
        )
        while not ended.wait(every):
            if held := self._all_held():
                try:
                    beat = leases.heartbeat(held, self._lease_seconds)
                    self._heed(held, self._client.run(answered(beat, patience)))
                except JobQueueError as error:
                    logger.warning("The leases could not be extended: %s", error)

    def _heed(self, held: Sequence[LeasedJob], told: Sequence[Report]) -> None:
        for job, report in zip(held, told, strict=True):
            if report.ok and not report.cancel_requested:
                continue
            job.stopping.set()
            if not report.ok:
                logger.warning("%s %s: %s", job.id, job.task, report.detail)
                with self._changed:
                    self._drop(job)

    def _all_held(self) -> Sequence[LeasedJob]:
        with self._changed:
            return list(self._held.values())

    def _is_idle(self) -> bool:
        return self._running == 0

    def _wait_for_running(self) -> None:
        with self._changed:
            self._changed.wait_for(self._is_idle, self._grace_seconds)

    def _stop_running(self) -> None:
        """Ask the jobs that still run to stop, and give back those that do not."""
        with self._changed:
            for job in self._held.values():
                job.stopping.set()
            self._changed.wait_for(self._is_idle, LAST_SECONDS)
        if left := self._all_held():
            self._give_back(left)

    def _give_back(self, jobs: Sequence[LeasedJob]) -> None:
        try:
            self._client.call(leases.release(jobs))
        except JobQueueError as error:
            logger.warning("%d jobs come back when their leases run out: %s", len(jobs), error)


def _failure(job: LeasedJob, error: BaseException) -> Call[Sequence[Report]]:
    match error:
        case Retry():
            return leases.fail(job, "Retry", _message(error), retry_in_seconds=error.after)
        case Discard():
            return leases.fail(job, "Discard", _message(error), is_retryable=False)
        case _:
            trace = "".join(traceback.format_exception(error))
            return leases.fail(job, type(error).__name__, _message(error), traceback=trace)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as unprintable:  # the error is a user's class
        return f"<its message raised {type(unprintable).__name__}>"


def _unfit(job: LeasedJob, code: str, detail: str) -> Call[Sequence[Report]]:
    """The result cannot be recorded, and would not be better the next time."""
    return leases.fail(job, code, f"The result was refused: {detail}", is_retryable=False)


def _name_of_machine() -> str:
    return re.sub(r"[^A-Za-z0-9._:-]", "-", socket.gethostname())[:50] or "worker"
