"""How fast this process gets jobs done, to claim what can start within a moment and no more."""

from collections.abc import Collection

from jobs.conf import conf
from workers.held import HeldJob

MEMORY = 0.2
"""How much of the estimate the jobs of the last batch make up."""


class Pace:
    """The time that jobs hold a slot, as the last ones did."""

    def __init__(self) -> None:
        self._seconds = conf().claim_buffer_seconds

    def note(self, ended: Collection[HeldJob], held: Collection[HeldJob], now: float) -> None:
        """Learn from jobs that have ended, and from those that take longer than was thought."""
        ran = [one.running_seconds(one.ended_at or now) for one in ended if one.started_at]
        running = (one.running_seconds(now) for one in held if one.ended_at is None)
        ran += [seconds for seconds in running if seconds > self._seconds]
        if ran:
            self._seconds += MEMORY * (sum(ran) / len(ran) - self._seconds)

    def buffer(self, slots: int) -> int:
        """How many jobs, beyond those that run, can start within `claim_buffer_seconds`."""
        each = max(self._seconds, 1e-5)
        return min(int(slots * conf().claim_buffer_seconds / each), 2 * conf().claim_batch)
