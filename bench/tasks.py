"""The tasks that the benchmark runs."""

import asyncio
import time

from bench import labour
from jobs.tasksapi import task


@task
def noop() -> None:
    """Nothing, in a thread."""


@task
async def noop_async() -> None:
    """Nothing, on the event loop."""


@task
def stamp() -> float:
    """When it ran: seconds since 1970, by this machine's clock."""
    return time.time()


@task
def cpu(rounds: int) -> str:
    """Busy for as long as so many rounds take."""
    return labour.burn(rounds)


@task
async def sleep(seconds: float) -> None:
    """Wait, on the event loop."""
    await asyncio.sleep(seconds)


@task
def fetch(port: int) -> int:
    """One call of a server on this machine; answers its status."""
    return labour.call(port)
