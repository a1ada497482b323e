"""Tasks that behave as users' tasks do at their worst. Named by their import path."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.backoff import Backoff
from jobs.errors import Cancel, Discard, Retry
from jobs.registry import RawJSON
from jobs.tasksapi import task

QUICK = Backoff(0.01, 0.05)


@task(backoff=QUICK)
def note(path: str, text: str = "x") -> None:
    """Append a line to a file: an effect that can be counted."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


@task(takes_context=True, backoff=QUICK)
def slow_note(context: Any, path: str, seconds: float) -> None:
    """Work for a while, then leave an effect that names job and fence."""
    time.sleep(seconds)
    with Path(path).open("a") as file:
        file.write(f"{context.job_id} {context.fence}\n")


@task
def spin() -> None:
    """Never end, in Python code that can be interrupted."""
    while True:
        time.sleep(0.01)


@task
def ignore_stops() -> None:
    """Never end, and swallow whatever is raised to end it."""
    while True:
        with suppress(BaseException):
            time.sleep(0.05)


@task
async def wait_forever() -> None:
    """Never end, asynchronously."""
    await asyncio.sleep(3_600)


@task(killable=True)
def block_in_c() -> None:
    """Never end, in a call that no exception reaches."""
    time.sleep(3_600)


@task(killable=True)
def add_killably(a: int, b: int) -> int:
    """Work that runs in a child process."""
    return a + b


@task(killable=True, takes_context=True, backoff=QUICK)
def die_in_child(context: Any) -> None:
    """Kill the child process that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(backoff=QUICK)
def kill_worker() -> None:
    """Kill the worker process that runs it."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(backoff=QUICK)
def decide(how: str) -> Any:
    """End as told."""
    match how:
        case "retry":
            raise Retry(after=0.05, message="not yet")
        case "discard":
            raise Discard("of no use")
        case "cancel":
            raise Cancel("no longer wanted")
        case "exit":
            raise SystemExit(3)
        case "unstorable":
            return object()
        case "large":
            return RawJSON(b'"' + b"x" * 2_000_000 + b'"')
        case "nul":
            raise ValueError("a\0b \ud800")
        case _:
            raise ValueError(how)


@task(takes_context=True, backoff=QUICK)
async def fail_then_succeed(context: Any, times: int) -> int:
    """Fail `times` times, then answer the attempt's number."""
    if context.attempt <= times:
        raise RuntimeError("not yet")
    return int(context.attempt)
