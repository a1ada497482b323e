"""The watchdog: stops jobs whose time or whose lease is over. Needs no database."""

import logging
import time
from collections.abc import Callable

from jobs.conf import conf
from jobs.store import Outcome
from workers import attempt, outcomes
from workers.held import HeldJob, HeldJobs, Stop
from workers.role import Role

INTERVAL_SECONDS, IDLE_SECONDS = 0.1, 0.5
STUBBORN_SECONDS = 5

_log = logging.getLogger(__name__)


class Watchdog(Role):
    """Looks after running jobs: their timeouts, their leases, and stops that are ignored.

    A job that ignores its stop is finished all the same, as its stop demands, and then the process
    retires, because only its end can stop the code.
    """

    def __init__(
        self,
        worker: str,
        held: HeldJobs,
        finish: Callable[[HeldJob, Outcome | None], None],
        *,
        retire: Callable[[], None],
    ) -> None:
        super().__init__("watchdog")
        self._worker = worker
        self._held = held
        self._finish = finish
        self._retire = retire

    def tick(self) -> float:
        """Look once."""
        now = time.monotonic()
        if not (running := self._held.snapshot()):
            return IDLE_SECONDS
        for held in running:
            if held.started_at is None or held.ended_at is not None:
                continue  # it waits to go back or be recorded, for as long as the database is away
            if held.running_seconds(now) > held.timeout_seconds:
                held.stop(Stop.TIMEOUT)
            if now - held.leased_at > conf().lease_seconds:
                held.stop(Stop.LOST)  # cut off from the database: by now another may have the job
            if held.stopped_at and now - held.stopped_at > STUBBORN_SECONDS:
                self._give_up(held)
        return INTERVAL_SECONDS

    def _give_up(self, held: HeldJob) -> None:
        if held.is_stubborn:
            return
        held.is_stubborn = True
        fields = attempt.described(held.job, self._worker)
        _log.error("a job does not stop; its worker process retires", extra=fields)
        self._finish(held, outcomes.of_stop(held))
        self._retire()
