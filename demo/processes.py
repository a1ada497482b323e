"""Child processes of the launcher, each in a session of its own with a log file of its own."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

MAX_LOG_BYTES = 10_000_000
"""A log that is larger when its program starts is set aside as `….log.1`."""
PR_SET_PDEATHSIG = 1
# Loaded here and not after a fork, where no more may happen than one call.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One started program and everything that it starts itself."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path) -> None:
        self.name = name
        self.log = log
        launcher = os.getpid()
        self._log_start = _begin_log(log, name)
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the launcher alone, which then stops the others.
            self._popen = subprocess.Popen(  # noqa: S603  (the command is ours)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _end_with(launcher),  # noqa: PLW1509  (one call)
            )

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._popen.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.exit_code is None:
            self._popen.terminate()

    def kill(self) -> None:
        """End it and whatever is left of what it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nothing was left
        self._popen.wait()

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, as far as it is this program's."""
        with self.log.open(errors="replace") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().splitlines()[-count:])


def _begin_log(log: Path, name: str) -> int:
    """Make the log ready to be appended to; answers where this program's lines begin."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("a") as output:
        output.write(f"--- {name} started at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} ---\n")
        return output.tell()


def _end_with(launcher: int) -> None:
    """In the new process: ask Linux for a SIGTERM when the launcher dies, however it dies."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:
            os._exit(1)  # it died before we could ask


def stop_all(children: Iterable[Child], *, within_seconds: float) -> list[str]:
    """Ask all to end, then kill what is left; answers the names of those that had to be killed."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + within_seconds
    while any(child.exit_code is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    stubborn = [child.name for child in children if child.exit_code is None]
    for child in children:
        child.kill()
    return stubborn
