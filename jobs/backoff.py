"""How long a failed job waits before its next attempt. Pure."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter.

    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    `base_seconds` is the upper bound of the first wait, `max_seconds` of every wait.
    """

    base_seconds: float
    max_seconds: float
    jitter: bool = True

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after attempt number `attempt` (1 for the first) has failed."""
        exponent = min(attempt - 1, 62)
        ceiling = min(self.max_seconds, self.base_seconds * 2**exponent)
        return rng.uniform(0, ceiling) if self.jitter else ceiling
