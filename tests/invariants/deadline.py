"""Loops of threads end, also where what they wait for never comes."""

import time


class Deadline:
    """So many seconds from now; `holds` is what a loop asks in each of its rounds."""

    def __init__(self, seconds: float = 60) -> None:
        self._at = time.monotonic() + seconds

    def holds(self) -> bool:
        """True, or an AssertionError once the time is over."""
        assert time.monotonic() < self._at, "what the loop waits for does not come"
        return True
