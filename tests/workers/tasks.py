"""Tasks that behave as users' tasks do at their worst. Named by their import path."""

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from contextvars import ContextVar
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


@task(backoff=QUICK)
def note_then_sleep(path: str, seconds: float) -> None:
    """Leave an effect as soon as it runs, then take its time."""
    Path(path).touch()
    time.sleep(seconds)


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


@task(backoff=QUICK)
def return_circle() -> Any:
    """Return what no JSON can say."""
    circle: list[Any] = []
    circle.append(circle)
    return circle


_of_whom = ContextVar("of_whom", default="nobody")


def _leave_behind(name: str) -> str:
    before = _of_whom.get()
    _of_whom.set(name)
    return before


@task
def leave_in_thread(name: str) -> str:
    """Leave something in the context it runs in; answer what was there."""
    return _leave_behind(name)


@task
async def leave_on_loop(name: str) -> str:
    """The same, asynchronously."""
    return _leave_behind(name)


@task(killable=True)
def leave_in_child(name: str) -> str:
    """The same, in a child process."""
    return _leave_behind(name)


class Unprintable(Exception):
    """An error whose message cannot be asked for."""

    def __str__(self) -> str:
        raise RuntimeError("no message for you")


@task(backoff=QUICK)
def raise_unprintable() -> None:
    """Fail in a way that cannot be told."""
    raise Unprintable


class BrokenBackoff(Backoff):
    """A retry policy with a bug."""

    def delay(self, attempt: int, rng: Any) -> float:
        """Never answers."""
        raise ZeroDivisionError


@task(backoff=BrokenBackoff(1, 1))
async def fail_with_broken_backoff() -> None:
    """Fail, and let the engine find that the policy is broken."""
    raise ValueError("first this")


@task(backoff=BrokenBackoff(1, 1))
def fail_in_thread_with_broken_backoff() -> None:
    """The same in a thread."""
    raise ValueError("first this")


@task
def swallow_exceptions() -> None:
    """Go on whatever `Exception` is raised."""
    while True:
        with suppress(Exception):
            time.sleep(0.01)


@task(killable=True)
def nap_killably(seconds: float) -> None:
    """Sleep in a child process."""
    time.sleep(seconds)


_said = logging.getLogger("tests.said")


def _say_until(kind: str, path: str) -> None:
    _said.info("%s begins", kind)
    while not Path(path).exists():
        time.sleep(0.02)
    _said.warning("%s ends", kind)


@task
def say(path: str) -> None:
    """Log, wait for a file, log again."""
    _say_until("say", path)


@task
async def say_async(path: str) -> None:
    """The same on the loop."""
    await asyncio.to_thread(_say_until, "say_async", path)


@task(killable=True)
def say_killably(path: str) -> None:
    """The same in a child."""
    _say_until("say_killably", path)


@task(backoff=QUICK)
def say_and_fail() -> None:
    """Log, and fail."""
    _said.error("about to fail")
    raise ValueError("as it said")
