"""The promoter: makes jobs ready whose time has come, first runs and retries alike."""

import time
from collections.abc import Callable

from jobs import store, wakeup
from jobs.conf import conf
from workers.role import REST, Role

BATCH = 1_000
GAP_SECONDS = 0.1
"""However often it is woken, it looks no more often."""


class Promoter(Role):
    """Runs in every worker process; promoters pass over each other's rows.

    It sleeps until the next job is due. Of one that comes to wait meanwhile it is told, by `wake`,
    where this process knows; otherwise it finds it at its next look.
    """

    def __init__(self, promoted: Callable[[], None]) -> None:
        super().__init__("promoter")
        self._promoted = promoted
        self._looked_at = 0.0

    def tick(self) -> float:
        """Promote one batch; at once the next if there may be more."""
        started = time.monotonic()
        if (early := self._looked_at + GAP_SECONDS - started) > 0:
            return early
        due_in = store.due_in()
        count = store.promote(limit=BATCH) if due_in <= 0 else 0
        if count:
            self._promoted()
            wakeup.signal()
        if count == BATCH:
            return 0
        self._looked_at = time.monotonic()
        wait = min(conf().promote_interval_seconds, max(due_in, GAP_SECONDS))
        return max(wait, REST * (self._looked_at - started))
