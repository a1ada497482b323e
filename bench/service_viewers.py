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
from tests.harness import ProjectProcess, running_workers
from tests.live_server import live_server

VIEWERS, JOBS, TURNS = 50, 200_000, 3
PACE, PACED_SECONDS, PORTION = 5_000, 10, 500
"""So many jobs a second, of which the workers could do more; for how long; and at a time."""
PATIENCE_SECONDS = 60


def viewers(settings: Settings) -> Iterator[Sample]:
    """Work beside a server that nobody looks at, in turns with such that many watch.

    Once with jobs that come at a pace, and once as fast as they can be drained.
    """
    for _ in settings.each_run():
        load.wipe()
        with live_server() as (address, server):
            seats = server, int(address.rsplit(":", 1)[1]), session_cookie()
            paced = _at_a_pace(_Audience(*seats), PACED_SECONDS * settings.scale)
            yield {**paced, **_as_fast_as_it_goes(_Audience(*seats), settings.jobs(JOBS))}


def _at_a_pace(audience: "_Audience", seconds: float) -> Sample:
    alone: list[tuple[float, float]] = []
    watched: list[tuple[float, float]] = []
    with running_workers(*TWO_PROCESSES) as (node,):
        load.warm_up()
        for _ in range(TURNS):
            alone.append(_fed(node, seconds))
            with audience.of_viewers():
                watched.append(_fed(node, seconds))
    rates, work = zip(_means(watched), _means(alone), strict=True)
    return {
        "watched, at a pace": Figure(*rates),
        "workers' processor, at a pace": Figure(*work),
        "server, at a pace": Figure(100 * audience.busy_seconds / audience.seconds),
    }


def _means(found: list[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(mean(figures) for figures in zip(*found, strict=True))


def _fed(node: ProjectProcess, seconds: float) -> tuple[float, float]:
    """Jobs per second, and the workers' µs for each, where they come at the pace for so long."""
    tenant, jobs = load.make_tenant(f"paced-{time.monotonic_ns()}"), 0
    busy, began = cpu_seconds(node.family()), time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds:
        if jobs < elapsed * PACE:
            jobs += load.submit_bulk(tenant, PORTION, NOOP)
        else:
            time.sleep(PORTION / PACE / 10)
    load.wait_for(jobs, [tenant.pk])
    busy = cpu_seconds(node.family()) - busy
    return jobs / (time.monotonic() - began), 1e6 * busy / jobs


def _as_fast_as_it_goes(audience: "_Audience", jobs: int) -> Sample:
    def submit() -> None:
        load.submit_bulk(load.make_tenant("bench"), jobs, NOOP)

    alone: list[float] = []
    watched: list[float] = []
    for _ in range(TURNS):
        alone.append(load.drain(submit, *TWO_PROCESSES).per_second)
        found = load.drain(submit, *TWO_PROCESSES, beside=audience.of_viewers)
        watched.append(found.per_second)
    say(f"    {mean(alone):,.0f} jobs/s unwatched, {mean(watched):,.0f} watched")
    return {
        "watched": Figure(mean(watched), mean(alone)),
        "slower than unwatched": Figure(100 * (1 - mean(watched) / mean(alone))),
        "server": Figure(100 * audience.busy_seconds / audience.seconds),
        "messages": Figure(audience.messages / audience.seconds / VIEWERS),
    }


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
    def of_viewers(self) -> Iterator[None]:
        """Pages for as long as the block takes; what they took is added up."""
        pages = [Page(self.port, self.cookie) for _ in range(VIEWERS)]
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
