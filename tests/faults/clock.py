"""A wall clock that is wrong and jumps, for one process. The monotonic clock stays right."""

import time
from datetime import timedelta

from django.utils import timezone

JUMPS_EVERY_SECONDS = 7


def go_wrong(skew: float) -> None:
    """From now on the process's clock is `skew` seconds fast, then as slow, then fast again."""
    right_time, right_now = time.time, timezone.now

    def error() -> float:
        return skew if time.monotonic() // JUMPS_EVERY_SECONDS % 2 else -skew

    time.time = lambda: right_time() + error()
    timezone.now = lambda: right_now() + timedelta(seconds=error())
