"""What it costs a drain that people look on: sockets of pages on an ASGI process beside it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean
from typing import Any

from bench import load
from bench.drains import NOOP, TWO_PROCESSES
from bench.footprint import cpu_seconds
from bench.scenario import Figure, Sample, Settings, say
from bench.service_sockets import Page
from bench.service_waiting import session_cookie
from tests.harness import ProjectProcess
from tests.live_server import live_server

VIEWERS, JOBS, TURNS = 50, 200_000, 3
PATIENCE_SECONDS = 60


def viewers(settings: Settings) -> Iterator[Sample]:
    """Drains beside a server that nobody looks at, and in turns with them such that many watch."""
    for _ in settings.each_run():
        load.wipe()
        with live_server() as (address, server):
            audience = _Audience(server, int(address.rsplit(":", 1)[1]), session_cookie())
            yield _in_turns(audience, settings.jobs(JOBS))


def _in_turns(audience: "_Audience", jobs: int) -> Sample:
    alone: list[float] = []
    watched: list[float] = []
    for _ in range(TURNS):
        alone.append(_drained(jobs, audience, 0))
        watched.append(_drained(jobs, audience, VIEWERS))
    say(f"    {mean(alone):,.0f} jobs/s unwatched, {mean(watched):,.0f} watched")
    return {
        "watched": Figure(mean(watched), mean(alone)),
        "slower than unwatched": Figure(100 * (1 - mean(watched) / mean(alone))),
        "server": Figure(100 * audience.busy_seconds / audience.seconds),
        "messages": Figure(audience.messages / audience.seconds / VIEWERS),
    }


def _drained(jobs: int, audience: "_Audience", pages: int) -> float:
    def submit() -> None:
        load.submit_bulk(load.make_tenant("bench"), jobs, NOOP)

    return load.drain(submit, *TWO_PROCESSES, beside=lambda: audience.of(pages)).per_second


@dataclass
class _Audience:
    """Pages that look at one server, and what that took so far, in seconds and messages."""

    server: ProjectProcess
    port: int
    cookie: str
    seconds: float = 0
    busy_seconds: float = 0
    messages: int = 0

    @contextmanager
    def of(self, count: int) -> Iterator[None]:
        """So many pages for as long as the block takes; what they took is added up."""
        if not count:
            yield
            return
        pages = [Page(self.port, self.cookie) for _ in range(count)]
        with _loop() as run:
            for page in pages:
                run(page.open())
            told = sum(page.messages for page in pages)
            busy, began = cpu_seconds(self.server.family()), time.monotonic()
            yield
            self.seconds += time.monotonic() - began
            self.busy_seconds += cpu_seconds(self.server.family()) - busy
            self.messages += sum(page.messages for page in pages) - told
            for page in pages:
                run(page.close())


@contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """An event loop in a thread; what is given runs a coroutine there and waits for it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="pages")
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
