"""A task whose runs can be counted and timed. Named by its import path."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from jobs.backoff import Backoff
from jobs.tasksapi import task

QUICK = Backoff(0.01, 0.05)


@task(takes_context=True, backoff=QUICK)
def mark(context: Any, path: str, seconds: float) -> None:
    """Say when the run begins and when it ends, by a clock that all processes here share."""
    _say(path, "begins", context)
    time.sleep(seconds)
    _say(path, "ends", context)


@task(takes_context=True, backoff=QUICK)
def mark_until(context: Any, path: str, over: str) -> None:
    """As `mark`; the run ends once there is a file of the name `over`."""
    _say(path, "begins", context)
    while not Path(over).exists():
        time.sleep(0.02)
    _say(path, "ends", context)


@task(backoff=QUICK)
def kill_worker() -> None:
    """Kill the worker process that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)


def _say(path: str, what: str, context: Any) -> None:
    with Path(path).open("a") as file:
        file.write(f"{what} {context.job_id} {context.fence} {time.monotonic()}\n")
