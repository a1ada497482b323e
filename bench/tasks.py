"""The tasks that the benchmark runs."""

import asyncio
import hashlib
import http.client
import time

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
    return burn(rounds)


@task
async def sleep(seconds: float) -> None:
    """Wait, on the event loop."""
    await asyncio.sleep(seconds)


@task
def fetch(port: int) -> int:
    """One call of a server on this machine; answers its status."""
    return call(port)


def burn(rounds: int) -> str:
    """Arithmetic in Python that holds the interpreter; answers a digest, so that it is not idle."""
    digest = hashlib.sha256()
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 1_000_003
        if number % 1_000 == 0:
            digest.update(str(total).encode())
    return digest.hexdigest()


def call(port: int) -> int:
    """GET / of 127.0.0.1 at the port; answers the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()
