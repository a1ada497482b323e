"""The promoter: makes jobs ready whose time has come, first runs and retries alike."""

import random
from collections.abc import Callable

from jobs import store, wakeup
from jobs.conf import conf
from workers.role import Role

BATCH = 1_000


class Promoter(Role):
    """Runs in every worker process; promoters pass over each other's rows."""

    def __init__(self, promoted: Callable[[], None]) -> None:
        super().__init__("promoter")
        self._promoted = promoted

    def tick(self) -> float:
        """Promote one batch; at once the next if there may be more."""
        count = store.promote(limit=BATCH)
        if count:
            self._promoted()
            wakeup.signal()
        if count == BATCH:
            return 0
        return conf().promote_interval_seconds * random.uniform(0.8, 1.2)  # noqa: S311
