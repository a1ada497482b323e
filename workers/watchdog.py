"""The watchdog: stops jobs whose time is up. Needs no database."""

import logging
import os
import time
from collections.abc import Callable

from jobs.conf import conf
from workers import attempt
from workers.held import HeldJob, HeldJobs, Stop
from workers.role import Role

INTERVAL_SECONDS = 0.1
STUBBORN_SECONDS = 5

_log = logging.getLogger(__name__)


class Watchdog(Role):
    """Looks after running jobs: timeouts, jobs that ignore being stopped, a parent that died."""

    def __init__(
        self,
        worker: str,
        held: HeldJobs,
        *,
        retire: Callable[[], None],
        orphaned: Callable[[], None],
    ) -> None:
        super().__init__("watchdog")
        self._worker = worker
        self._held = held
        self._retire = retire
        self._orphaned = orphaned
        self._parent = os.getppid()

    def tick(self) -> float:
        """Look once."""
        now = time.monotonic()
        for held in self._held.snapshot():
            if held.stop_reason is None and held.running_seconds(now) > _timeout(held):
                held.stop(Stop.TIMEOUT)
            elif held.stopped_at and now - held.stopped_at > STUBBORN_SECONDS:
                self._give_up(held)
        if os.getppid() != self._parent:
            self._orphaned()
        return INTERVAL_SECONDS

    def _give_up(self, held: HeldJob) -> None:
        """Only the end of the process can stop this job, so the process ends, after the others."""
        if not held.is_stubborn:
            held.is_stubborn = True
            _log.error(
                "a job does not stop; its worker process retires",
                extra=attempt.described(held.job, self._worker),
            )
            self._retire()


def _timeout(held: HeldJob) -> float:
    return held.job.timeout_seconds or held.task.timeout or conf().default_timeout_seconds
