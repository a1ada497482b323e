"""What the queue costs where jobs do something: the same work with and without it."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bench import labour, load
from bench.drains import ONE_PROCESS, TWO_PROCESSES
from bench.figures import rate
from bench.scenario import Figure, Sample, Settings
from jobs.submission import NewJob

CPU_JOBS, ROUNDS = 200, 400_000
SLEEPS, SLEEPERS, SLEEP_SECONDS = 5_000, 1_000, 1.0
CALLS, CALLERS = 3_000, 10


def processor(settings: Settings) -> Iterator[Sample]:
    """Work that holds the interpreter, on two processes of one slot."""
    jobs = settings.jobs(CPU_JOBS)
    workers = (*TWO_PROCESSES, "--concurrency", "1")
    for _ in settings.each_run():
        alone = _per_second(jobs, _in_two_processes)
        yield _sample(jobs, alone, "cpu", {"rounds": ROUNDS}, *workers)


def sleeps(settings: Settings) -> Iterator[Sample]:
    """A thousand coroutines at once that wait a second each, five times over."""
    jobs, sleepers = settings.jobs(SLEEPS), settings.jobs(SLEEPERS)
    workers = (*ONE_PROCESS, "--concurrency", str(sleepers))
    for _ in settings.each_run():
        started = time.monotonic()
        asyncio.run(_sleep_all(jobs, sleepers))
        alone = rate(jobs, time.monotonic() - started)
        yield _sample(jobs, alone, "sleep", {"seconds": SLEEP_SECONDS}, *workers)


def calls(settings: Settings) -> Iterator[Sample]:
    """HTTP calls that take 10 ms, in ten threads."""
    jobs = settings.jobs(CALLS)
    workers = (*ONE_PROCESS, "--concurrency", str(CALLERS))
    for _ in settings.each_run():
        with labour.slow_server() as port:
            alone = _per_second(jobs, lambda jobs: _call_all(port, jobs))
            yield _sample(jobs, alone, "fetch", {"port": port}, *workers)


def _sample(
    jobs: int, alone: float, task: str, arguments: dict[str, object], *workers: str
) -> Sample:
    job = NewJob(task=f"bench.tasks.{task}", payload=json.dumps(arguments).encode())

    def submit() -> None:
        load.submit_bulk(load.make_tenant("bench"), jobs, job)

    drained = load.drain(submit, *workers, result=None)
    return {"through the queue": Figure(drained.per_second, alone)}


def _per_second(jobs: int, work: Callable[[int], float]) -> float:
    return rate(jobs, work(jobs))


def _in_two_processes(jobs: int) -> float:
    """Seconds for so many pieces, the start of the processes not included."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(labour.burn, [1, 1], chunksize=1)
        started = time.monotonic()
        pool.map(labour.burn, [ROUNDS] * jobs, chunksize=1)
        return time.monotonic() - started


async def _sleep_all(jobs: int, sleepers: int) -> None:
    places = asyncio.Semaphore(sleepers)

    async def sleep() -> None:
        async with places:
            await asyncio.sleep(SLEEP_SECONDS)

    await asyncio.gather(*(sleep() for _ in range(jobs)))


def _call_all(port: int, jobs: int) -> float:
    with ThreadPoolExecutor(CALLERS) as threads:
        started = time.monotonic()
        list(threads.map(labour.call, [port] * jobs))
        return time.monotonic() - started
