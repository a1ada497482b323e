"""The reaper: takes jobs back from workers that went silent."""

import logging
import random

from jobs import store, wakeup
from jobs.conf import conf
from workers import outcomes
from workers.role import Role

_log = logging.getLogger(__name__)


class Reaper(Role):
    """Runs in every worker process; reapers pass over each other's rows."""

    def __init__(self, worker: str) -> None:
        super().__init__("reaper")
        self._worker = worker

    def tick(self) -> float:
        """Reap once."""
        reaped = store.reap(self._worker, outcomes.loss_delay)
        for job_id in reaped:
            _log.warning(
                "the lease ran out; the attempt counts as lost",
                extra={"job_id": str(job_id), "worker": self._worker},
            )
        if reaped:
            wakeup.signal()
        return conf().reap_interval_seconds * random.uniform(0.8, 1.2)  # noqa: S311
