"""The operator: carries out what was asked for all jobs that match a filter."""

import time

from jobs import operations
from jobs.conf import conf
from workers.role import REST, Role


class Operator(Role):
    """Runs in every worker process; a step of an operation is taken by one of them at a time."""

    def __init__(self, worker: str) -> None:
        super().__init__("operator")
        self._worker = worker

    def tick(self) -> float:
        """Take the step that is due; at once the next if there may be one."""
        started = time.monotonic()
        wait = operations.step(self._worker)
        if wait <= 0:
            return 0
        rest = REST * (time.monotonic() - started)
        return max(rest, min(wait, conf().operation_interval_seconds))
