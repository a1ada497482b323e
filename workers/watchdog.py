"""The watchdog: stops jobs whose time is up. Needs no database."""

import logging
import time
from collections.abc import Callable

from jobs.conf import conf
from jobs.store import Outcome
from workers import attempt, outcomes
from workers.held import HeldJob, HeldJobs, Stop
from workers.role import Role

INTERVAL_SECONDS = 0.1
STUBBORN_SECONDS = 5

_log = logging.getLogger(__name__)


class Watchdog(Role):
    """Looks after running jobs: timeouts, and jobs that ignore being stopped.

    Such a job is finished all the same, as its stop demands, and then the process retires, because
    only its end can stop the code.
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
        for held in self._held.snapshot():
            if held.stop_reason is None and held.running_seconds(now) > _timeout(held):
                held.stop(Stop.TIMEOUT)
            elif held.stopped_at and now - held.stopped_at > STUBBORN_SECONDS:
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


def _timeout(held: HeldJob) -> float:
    return held.job.timeout_seconds or held.task.timeout or conf().default_timeout_seconds
