"""UUIDv7 (RFC 9562, section 5.7): identifiers that sort by the time they were made."""

import os
import re
import threading
import time
import uuid

SECOND_NS = 1_000_000_000
NOISE_BYTES = 4_096
"""So much noise is asked for at once: each time, a thread may lose its turn to another."""
_WRITTEN = re.compile(r"\A[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.ASCII | re.IGNORECASE)
_lock = threading.Lock()
_last = 0
_ahead_ns = 0
_noise = b""


def uuid7() -> uuid.UUID:
    """A new UUIDv7, larger than every earlier one of this process."""
    return uuid7s(1)[0]


def follow(moment: float) -> None:
    """Let new ids be of a clock that shows this moment now, in seconds since 1970.

    Of this machine's where the two differ by less than a second, so that the order of ids is not
    disturbed for nothing.
    """
    global _ahead_ns  # noqa: PLW0603
    ahead = int(moment * 1e9) - time.time_ns()
    _ahead_ns = ahead if abs(ahead) >= SECOND_NS else 0


def uuid7s(count: int) -> list[uuid.UUID]:
    """So many new UUIDv7, in rising order.

    The 12 bits after the milliseconds count sub-millisecond steps (RFC 9562, method 3), so jobs
    submitted together keep their order.
    """
    global _last  # noqa: PLW0603
    with _lock:
        first = max(_last + 1, (time.time_ns() + _ahead_ns) * 4_096 // 1_000_000)
        _last = first + count - 1
        noise = _take_noise(8 * count)
    return [_uuid7(first + n, noise[8 * n : 8 * n + 8]) for n in range(count)]


def first_id(moment: float) -> uuid.UUID:
    """What is lower than all ids of a moment, in seconds since 1970, and higher than those before.

    Of a time that no id can be of, the first or the last that there is.
    """
    milliseconds = max(0, min(int(moment * 1_000), 2**48 - 1))
    return uuid.UUID(int=milliseconds << 80)


def read_id(text: str) -> uuid.UUID:
    """The id that is written so, as ids are. Raises `ValueError` for what `UUID` reads besides.

    That is hyphens anywhere or nowhere, braces, and URNs.
    """
    if not _WRITTEN.match(text):
        raise ValueError("This is not how ids are written.")
    return uuid.UUID(text)


def _take_noise(size: int) -> bytes:
    global _noise  # noqa: PLW0603
    if len(_noise) < size:
        _noise = os.urandom(max(size, NOISE_BYTES))
    taken, _noise = _noise[:size], _noise[size:]
    return taken


def _begin_anew() -> None:
    """In a fork: the noise is its parent's, and a thread that is not here may have the lock."""
    global _lock, _noise
    _lock, _noise = threading.Lock(), b""


os.register_at_fork(after_in_child=_begin_anew)


def _uuid7(ticks: int, noise: bytes) -> uuid.UUID:
    milliseconds, step = divmod(ticks, 4_096)
    tail = int.from_bytes(noise) & (2**62 - 1)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | step << 64 | 0b10 << 62 | tail)
