"""The finisher: records outcomes in batches, for as long as it takes."""

import logging
import queue
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from django.db import DataError, IntegrityError

from jobs import store
from jobs.conf import conf
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store import Logged, Outcome, Waits
from workers.held import HeldJob, HeldJobs
from workers.ledger import Ledger
from workers.logbook import book
from workers.role import Role

WAIT_SECONDS = 0.5
GATHER_SECONDS = 0.005
GATHER_JOBS = 50
"""While so many jobs are still to come, the others of their batch are waited for a moment."""
LOG_SECONDS = 1.0
"""So often at most what running jobs log is written."""
MAX_BATCH_BYTES = 4_000_000
"""Large results are written in smaller batches: a statement is held in memory several times."""

Finish = Callable[[Sequence[Outcome]], set[uuid.UUID]]

_log = logging.getLogger(__name__)


class Finisher(Role):
    """Takes outcomes from the executor and writes them; a job's room is free only afterwards.

    While the database cannot be reached the outcomes are kept and tried again: they are fenced, so
    that writing one twice does no harm.
    """

    def __init__(self, worker: str, held: HeldJobs, ledger: Ledger) -> None:
        super().__init__("finisher")
        self._worker = worker
        self._held = held
        self._ledger = ledger
        self._finish: Finish = lambda outcomes: store.finish(worker, outcomes)
        self._room_made: Callable[[], None] = lambda: None
        self._retry_recorded: Callable[[], None] = lambda: None
        self._queue: queue.SimpleQueue[tuple[HeldJob, Outcome | None]] = queue.SimpleQueue()
        self._batch: list[tuple[HeldJob, Outcome | None]] = []
        self._bytes = 0
        self._log_due_at = 0.0
        self._waits = Waits()

    def by(self, finish: Finish) -> None:
        """Have outcomes recorded by `finish`, which answers as `store.finish` does."""
        self._finish = finish

    def on_room(self, room_made: Callable[[], None]) -> None:
        """Have `room_made` called when jobs have left."""
        self._room_made = room_made

    def on_retry(self, retry_recorded: Callable[[], None]) -> None:
        """Have `retry_recorded` called when jobs have come to wait for another attempt."""
        self._retry_recorded = retry_recorded

    def put(self, held: HeldJob, outcome: Outcome | None) -> None:
        """Have an outcome recorded; None: only let go of the job, whose lease was lost."""
        self._queue.put((held, outcome))

    def stop(self, timeout: float = 5) -> bool:
        """End, and write what is still counted."""
        has_ended = super().stop(timeout)
        self._waits.write()
        return has_ended

    def tick(self) -> float:
        """Record one batch."""
        self._fill()
        self._keep_log()
        if self._batch:
            self._record(
                [
                    outcome.sealed(held.key) if held.key else outcome
                    for held, outcome in self._batch
                    if outcome
                ]
            )
            self._let_go()
        self._waits.write_if_due()
        return 0

    def _fill(self) -> None:
        """Wait a moment for an outcome, then take all that are there."""
        limit = conf().finish_batch
        try:
            if not self._batch:
                self._take(timeout=WAIT_SECONDS)
                if len(self._held) - self._queue.qsize() > GATHER_JOBS:
                    time.sleep(GATHER_SECONDS)
            while len(self._batch) < limit and self._bytes < MAX_BATCH_BYTES:
                self._take(timeout=0)
        except queue.Empty:
            pass

    def _take(self, *, timeout: float) -> None:
        held, outcome = self._queue.get(timeout=timeout)
        self._batch.append((held, outcome))
        self._bytes += len(outcome.result or b"") if outcome else 0

    def _keep_log(self) -> None:
        """Write what was logged: by ended attempts before their outcomes, by others now and then.

        A line that cannot be written keeps no outcome from being recorded.
        """
        ended = [held.lease for held, _ in self._batch]
        book.close_notes(ended)
        if is_due := time.monotonic() >= self._log_due_at:
            self._log_due_at = time.monotonic() + LOG_SECONDS
            book.forget_all_but({held.lease for held in self._held.snapshot()})
        if lines := book.unwritten(None if is_due else ended):
            try:
                _keep(lines)
            except Exception as error:
                if not ended:
                    raise
                fields = {"error_type": type(error).__name__, "count": len(lines)}
                _log.warning("lines of jobs were not written", extra=fields)
            else:
                book.written(lines)

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        try:
            recorded = self._finish(outcomes)
        except (DataError, IntegrityError):
            recorded = {job_id for one in outcomes for job_id in self._record_one(one)}
        if any(outcome.status is Status.FAILED for outcome in outcomes):
            self._retry_recorded()
        if len(recorded) < len(outcomes):
            outcomes = self._without_late(outcomes, recorded)
        self._waits.note(outcomes)

    def _without_late(
        self, outcomes: Sequence[Outcome], recorded: Collection[uuid.UUID]
    ) -> list[Outcome]:
        for outcome in outcomes:
            if outcome.job_id not in recorded:
                _log.warning(
                    "an outcome came too late and was dropped: the lease was lost before",
                    extra={"job_id": str(outcome.job_id), "worker": self._worker},
                )
        return [outcome for outcome in outcomes if outcome.job_id in recorded]

    def _record_one(self, outcome: Outcome) -> set[uuid.UUID]:
        """One outcome among which the database refuses one: that job is dead, not the batch."""
        try:
            return store.finish(self._worker, [outcome])
        except (DataError, IntegrityError) as error:
            _log.error(
                "an outcome could not be stored; the job goes to the DLQ",
                exc_info=error,
                extra={"job_id": str(outcome.job_id), "worker": self._worker},
            )
            return store.finish(self._worker, [_unstorable(outcome, error)])

    def _let_go(self) -> None:
        for held, _ in self._batch:
            self._ledger.strike(held)
        self._held.remove([held for held, _ in self._batch])
        book.forget([held.lease for held, _ in self._batch])
        self._batch.clear()
        self._bytes = 0
        self._room_made()


def _keep(lines: Sequence[Logged]) -> None:
    """Write lines; of a job with one that the database refuses, those of this batch are lost."""
    try:
        store.keep_log(lines)
    except (DataError, IntegrityError):
        for job_id in dict.fromkeys(line.job_id for line in lines):
            _keep_of_one(job_id, [line for line in lines if line.job_id == job_id])


def _keep_of_one(job_id: uuid.UUID, lines: Sequence[Logged]) -> None:
    try:
        store.keep_log(lines)
    except (DataError, IntegrityError) as error:
        fields = {"job_id": str(job_id), "error_type": type(error).__name__, "count": len(lines)}
        _log.warning("lines of a job cannot be stored and are dropped", extra=fields)


def _unstorable(outcome: Outcome, error: Exception) -> Outcome:
    return replace(
        outcome,
        status=Status.DLQ,
        result=None,
        attempt_outcome=AttemptOutcome.FAILED,
        error_type=type(error).__name__,
        error_message="The outcome of the task could not be stored.",
        traceback="",
        reason=Reason.NOT_RETRYABLE,
        retry_in=0,
    )
