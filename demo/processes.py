"""Child processes of the launcher, each in a session of its own with a log file of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path


class Child:
    """One started program and everything that it starts itself."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches the launcher alone, which then stops the others.
            self._popen = subprocess.Popen(  # noqa: S603  (the command is ours)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
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
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


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
