"""The purger: deletes what ended long ago, and adds up old counts."""

import logging
import random
import time
from collections.abc import Iterator

from jobs import retention, store
from jobs.conf import conf
from workers.role import Role

CHORE = "purge"
FIRST_WITHIN_SECONDS = 60

_log = logging.getLogger(__name__)


class Purger(Role):
    """Runs in every worker process; one of them at a time has the turn, and does a step a tick."""

    def __init__(self, worker: str) -> None:
        super().__init__("purger")
        self._worker = worker
        self._steps: Iterator[int] | None = None
        self._purged = 0
        self._keep_at = 0.0
        within = min(FIRST_WITHIN_SECONDS, conf().purge_interval_seconds)
        self._first_at = time.monotonic() + random.uniform(0, within)  # noqa: S311

    def tick(self) -> float:
        """Do the next step of a pass, or begin one if it is our turn."""
        started = time.monotonic()
        if (early := self._first_at - started) > 0:
            return early
        if not self._has_turn(started):
            return conf().purge_interval_seconds
        if self._step():
            return retention.REST * (time.monotonic() - started)
        return conf().purge_interval_seconds

    def _has_turn(self, now: float) -> bool:
        """Whether a pass of ours is under way; taken anew before the turn is over."""
        interval = conf().purge_interval_seconds
        if self._steps is None and store.take_turn(CHORE, interval):
            self._steps, self._purged = retention.one_pass(), 0
            self._keep_at = now + interval / 2
        elif self._steps is not None and now > self._keep_at:
            store.keep_turn(CHORE, interval)
            self._keep_at = now + interval / 2
        return self._steps is not None

    def _step(self) -> bool:
        """Whether there was one: a pass that an error broke off begins anew, at the next turn."""
        purged = next(self._steps or iter(()), None)
        if purged is not None:
            self._purged += purged
            return True
        self._steps = None
        if self._purged:
            _log.info("purged", extra={"worker": self._worker, "count": self._purged})
        return False
