"""How fast this process gets jobs done, to claim what can start within a moment and no more."""

import time

WINDOW_SECONDS = 0.25


class Pace:
    """Jobs done per second, over the last moments."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._done = 0
        self._per_second = 0.0

    def per_second(self, done: int) -> float:
        """The pace, given how many jobs were done since the process began."""
        elapsed = time.monotonic() - self._since
        if elapsed >= WINDOW_SECONDS:
            self._per_second = (done - self._done) / elapsed
            self._since, self._done = time.monotonic(), done
        elif done - self._done > self._per_second * elapsed:
            # Faster than in the last window: believe it at once, so that a burst gets going.
            return max(self._per_second, (done - self._done) / WINDOW_SECONDS)
        return self._per_second
