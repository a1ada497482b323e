"""The tasks of a run under faults: most are harmless, some are what a worker has to survive.

Each writes down when its code began and ended.
"""

import asyncio
import ctypes
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from jobs.backoff import Backoff
from jobs.errors import Discard
from jobs.tasksapi import task
from tests.faults.record import note

SOON = Backoff(0.2, 1)
MEGABYTE = 2**20
STUBBORN_SECONDS = 60


class Stumbled(Exception):
    """A failure that was asked for."""


@contextmanager
def recorded(context: Any) -> Iterator[None]:
    """Write down the beginning and the end of what the block does."""
    attempt = {"job": context.job_id, "fence": context.fence}
    note("run", pid=os.getpid(), **attempt)
    how = "raised"
    try:
        yield
        how = "returned"
    finally:
        note("ran", how=how, **attempt)


@task(expose="quick", takes_context=True, backoff=SOON)
def quick(context: Any) -> None:
    """Do nothing."""
    with recorded(context):
        pass


@task(expose="slow", takes_context=True, backoff=SOON)
def slow(context: Any, seconds: float) -> None:
    """Take a while."""
    with recorded(context):
        time.sleep(seconds)


@task(expose="nap", takes_context=True, backoff=SOON)
async def nap(context: Any, seconds: float) -> None:
    """Take a while, on the event loop."""
    with recorded(context):
        await asyncio.sleep(seconds)


@task(expose="stumble", takes_context=True, backoff=SOON)
def stumble(context: Any, times: int) -> None:
    """Fail so many times."""
    with recorded(context):
        if context.attempt <= times:
            raise Stumbled


@task(expose="give_up", takes_context=True, backoff=SOON)
def give_up(context: Any) -> None:
    """Never succeed, and say so."""
    with recorded(context):
        raise Discard("of no use")


@task(expose="in_child", takes_context=True, killable=True, backoff=SOON)
def in_child(context: Any) -> None:
    """Do nothing, in a child process."""
    with recorded(context):
        pass


@task(expose="kill_process", takes_context=True, backoff=SOON)
def kill_process(context: Any) -> None:
    """Kill the worker process."""
    with recorded(context):
        os.kill(os.getpid(), signal.SIGKILL)


@task(expose="kill_child", takes_context=True, killable=True, backoff=SOON)
def kill_child(context: Any) -> None:
    """Kill the child process."""
    with recorded(context):
        os.kill(os.getpid(), signal.SIGKILL)


@task(expose="eat_memory", takes_context=True, killable=True, backoff=SOON)
def eat_memory(context: Any) -> None:
    """Ask for more memory than there is, in a child that has little."""
    with recorded(context), _little_memory():
        eaten = []
        while True:
            eaten.append(bytearray(64 * MEGABYTE))


@task(expose="hold_interpreter", takes_context=True, backoff=SOON)
def hold_interpreter(context: Any, seconds: int) -> None:
    """In the first attempt, let no other thread of the process run."""
    with recorded(context):
        if context.attempt == 1:
            ctypes.PyDLL(None).sleep(seconds)


@task(expose="ignore_stop", takes_context=True, backoff=SOON)
def ignore_stop(context: Any) -> None:
    """Swallow whatever is raised to end it."""
    with recorded(context):
        end = time.monotonic() + STUBBORN_SECONDS
        while time.monotonic() < end:
            with suppress(BaseException):
                time.sleep(0.05)


@contextmanager
def _little_memory() -> Iterator[None]:
    """A bound of the address space just above what is used."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:  # noqa: PTH123  (as the kernel's manual has it)
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 256 * MEGABYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
