"""UUIDv7 (RFC 9562, section 5.7): identifiers that sort by the time they were made."""

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """A new UUIDv7, larger than every earlier one of this process.

    The 12 bits after the milliseconds count sub-millisecond steps (RFC 9562, method 3), so jobs
    submitted together keep their order.
    """
    global _last  # noqa: PLW0603
    with _lock:
        _last = max(_last + 1, time.time_ns() * 4_096 // 1_000_000)
        ticks = _last
    milliseconds, step = divmod(ticks, 4_096)
    tail = int.from_bytes(os.urandom(8)) & (2**62 - 1)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | step << 64 | 0b10 << 62 | tail)
