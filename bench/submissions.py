"""How fast jobs are accepted, in bulk and one by one."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import mean

from bench import load
from bench.bare_insert import BareInsert
from bench.drains import NOOP
from bench.figures import rate
from bench.scenario import BenchError, Figure, Sample, Settings
from bench.tasks import noop
from jobs import services
from jobs.models import Job, Tenant

BULK_JOBS, SINGLE_JOBS, CHUNK = 50_000, 3_000, 100


def bulk(settings: Settings) -> Iterator[Sample]:
    """`submit_many` of a thousand each, beside bare inserts of a thousand to a transaction."""
    for _ in settings.each_run():
        yield _in_bulk(settings.jobs(BULK_JOBS))


def one_by_one(settings: Settings) -> Iterator[Sample]:
    """Each in a transaction of its own: bare, as a service, by Django's interface; in turns.

    What is bare is an INSERT and a COMMIT. An INSERT that commits itself saves the trips of BEGIN
    and COMMIT, as our single job does, and is told beside it.
    """
    chunks = max(1, settings.jobs(SINGLE_JOBS) // CHUNK)
    for _ in settings.each_run():
        yield _singly(chunks)


def _in_bulk(jobs: int) -> Sample:
    tenant, bare = _begin()
    with closing(bare):
        beside = bare.in_bulk(jobs, load.BULK)
        ours = _per_second(jobs, lambda: load.submit_bulk(tenant, jobs, NOOP))
    _refuse_losses(1 + 2 * jobs)
    return {"submit_many": Figure(ours, beside)}


def _singly(chunks: int) -> Sample:
    tenant, bare = _begin()
    task = noop.using(tenant=tenant.slug)
    ways: dict[str, Callable[[], float]] = {
        "INSERT and COMMIT": lambda: bare.one_by_one(CHUNK),
        "INSERT in one trip": lambda: bare.in_one_trip_each(CHUNK),
        "submit": lambda: _chunk(lambda: services.submit(tenant, NOOP)),
        "enqueue": lambda: _chunk(task.enqueue),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with closing(bare):
        for _ in range(chunks):
            for name, way in ways.items():
                rates[name].append(way())
    _refuse_losses(1 + len(ways) * chunks * CHUNK)
    beside = mean(rates["INSERT and COMMIT"])
    return {name: Figure(mean(found), beside) for name, found in rates.items()}


def _begin() -> tuple[Tenant, BareInsert]:
    """Empty tables but for one job, of which the bare rows are copies."""
    load.wipe()
    tenant = load.make_tenant("bench")
    bare = BareInsert(services.submit(tenant, NOOP).job_id)
    load.settle()
    return tenant, bare


def _chunk(submit: Callable[[], object]) -> float:
    return _per_second(CHUNK, lambda: [submit() for _ in range(CHUNK)])


def _per_second(jobs: int, submit: Callable[[], object]) -> float:
    started = time.monotonic()
    submit()
    return rate(jobs, time.monotonic() - started)


def _refuse_losses(jobs: int) -> None:
    if (found := Job.objects.count()) != jobs:
        raise BenchError(f"Of {jobs} submitted jobs, {found} are there.")
