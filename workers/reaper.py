"""The reaper: takes jobs back from workers that went silent."""

import logging
import random
import time
import uuid

from jobs import store, wakeup
from jobs.conf import conf
from workers import outcomes
from workers.role import REST, Role

BATCH = 500

_log = logging.getLogger(__name__)


class Reaper(Role):
    """Runs in every worker process; reapers pass over each other's rows."""

    def __init__(self, worker: str) -> None:
        super().__init__("reaper")
        self._worker = worker
        self._looked_at = time.time()

    def tick(self) -> float:
        """Reap one batch; at once the next if there may be more.

        After the machine slept, only when all have had time for a heartbeat.
        """
        if self._was_away():
            return conf().heartbeat_seconds + 1
        started = time.monotonic()
        reaped = self._reap() if store.has_expired() else []
        for job_id in reaped:
            _log.warning(
                "the lease ran out; the attempt counts as lost",
                extra={"job_id": str(job_id), "worker": self._worker},
            )
        if reaped:
            wakeup.signal()
        if len(reaped) == BATCH:
            return 0
        wait = conf().reap_interval_seconds * random.uniform(0.8, 1.2)  # noqa: S311
        return max(wait, REST * (time.monotonic() - started))

    def _reap(self) -> list[uuid.UUID]:
        return store.reap(self._worker, outcomes.loss_delay, limit=BATCH)

    def _was_away(self) -> bool:
        """Whether far more time went by than between two looks: then everybody was away."""
        before, self._looked_at = self._looked_at, time.time()
        usual = 2 * conf().reap_interval_seconds + conf().heartbeat_seconds + 2
        return self._looked_at - before > usual
