"""The operator: carries out what was asked for all jobs that match a filter."""

import time

from jobs import operations
from jobs.conf import conf
from workers.role import REST, Role

GAP_SECONDS = 1.0
"""However often it is woken, it looks no more often where there is nothing to do."""


class Operator(Role):
    """Runs in every worker process; a step of an operation is taken by one of them at a time.

    It is woken with the claimer, as one signal says that there may be anything to do.
    """

    def __init__(self, worker: str) -> None:
        super().__init__("operator")
        self._worker = worker
        self._rests_until = 0.0

    def tick(self) -> float:
        """Take the step that is due; at once the next if there may be one."""
        started = time.monotonic()
        if (early := self._rests_until - started) > 0:
            return early
        wait = operations.step(self._worker)
        if wait <= 0:
            return 0
        looked = time.monotonic()
        wait = max(min(wait, conf().operation_interval_seconds), REST * (looked - started))
        self._rests_until = looked + min(wait, GAP_SECONDS)
        return wait
