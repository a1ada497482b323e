"""Writing a history down: one line for each event, in a file of each process."""

import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings


def now() -> float:
    """Seconds since 1970 by the database's clock.

    On this machine, that is the kernel's; a process that was given a wrong clock reads it past
    that.
    """
    return time.clock_gettime(time.CLOCK_REALTIME)


def note(event: str, **fields: Any) -> None:
    """Write an event down at once, in one write: it survives whatever befalls the process."""
    line = json.dumps({"event": event, "at": now(), **fields})
    os.write(_file(os.getpid()), f"{line}\n".encode())


def directory() -> Path:
    """Where the files are."""
    return Path(settings.VAR_DIR) / "history"


@lru_cache(maxsize=1)
def _file(pid: int) -> int:
    """The file of this process; a fork gets its own."""
    directory().mkdir(parents=True, exist_ok=True)
    return os.open(directory() / str(pid), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
