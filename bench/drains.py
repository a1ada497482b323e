"""How fast a backlog is worked off."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection
from django.db.models import Count, Max, Min, QuerySet

from bench import load
from bench.figures import peak_overlap, rate
from bench.floor import floor_rate
from bench.scenario import BenchError, Figure, Sample, Settings, say
from bench.sqlite_floor import sqlite_floor_rate
from jobs.models import Job, Lane, Tenant
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.harness import database_url

JOBS = 50_000
TENANTS, JOBS_OF_TENANTS, LIMIT_OF_TENANT = 1_000, 20_000, 5
LIMIT_OF_LANE = 50
SAMPLING_SECONDS = 0.05

ONE_PROCESS = ("--processes", "1")
TWO_PROCESSES = ("--processes", "2")
NOOP = NewJob(task="bench.tasks.noop", payload=b"{}")
NOOP_ASYNC = NewJob(task="bench.tasks.noop_async", payload=b"{}")


def floor(settings: Settings) -> Iterator[Sample]:
    """The bare loop itself; on PostgreSQL at two sizes."""
    jobs = settings.jobs(JOBS)
    for _ in settings.each_run():
        sample = {"batch 100": Figure(floor_beside(jobs))}
        if connection.vendor == "postgresql":
            together = floor_rate(database_url(), jobs, batch=1_000, processes=2)
            sample["batch 1000, 2 processes"] = Figure(together)
        yield sample


def one_process(settings: Settings) -> Iterator[Sample]:
    """No-op jobs of one tenant without limits, in threads of one process."""
    yield from _drains(settings, NOOP, *ONE_PROCESS, "--concurrency", "10")


def async_tasks(settings: Settings) -> Iterator[Sample]:
    """The same as coroutines on one process's loop."""
    yield from _drains(settings, NOOP_ASYNC, *ONE_PROCESS, "--concurrency", "100")


def two_processes(settings: Settings) -> Iterator[Sample]:
    """The same with two processes, at the best of the numbers of slots that were asked for."""
    best: dict[int, list[Sample]] = {}
    for slots in settings.concurrency:
        say(f"  {slots} slots per process")
        arguments = (*TWO_PROCESSES, "--concurrency", str(slots))
        best[slots] = list(_drains(settings, NOOP, *arguments))
    yield from max(best.values(), key=lambda runs: sum(run["drain"].value for run in runs))


def _drains(settings: Settings, job: NewJob, *workers: str) -> Iterator[Sample]:
    jobs = settings.jobs(JOBS)
    for _ in settings.each_run():
        yield {"drain": _beside_floor(jobs, lambda: _of_one_tenant(jobs, job), *workers)}


def _of_one_tenant(jobs: int, job: NewJob) -> None:
    load.submit_bulk(load.make_tenant("bench"), jobs, job)


def _beside_floor(jobs: int, submit: Callable[[], object], *workers: str) -> Figure:
    """A drain, and the floor of the same minute: a shared machine is not the same all the time."""
    beside = floor_beside(jobs)
    drained = load.drain(submit, *workers)
    say(f"    {drained.per_second:,.0f} jobs/s, floor {beside:,.0f}")
    return Figure(drained.per_second, beside)


def floor_beside(jobs: int) -> float:
    """Jobs per second of the bare loop with a batch of 100, on the database that is measured."""
    if connection.vendor == "sqlite":
        return sqlite_floor_rate(Path(connection.settings_dict["NAME"]).parent, jobs)
    return floor_rate(database_url(), jobs)


def one_limited_lane(settings: Settings) -> Iterator[Sample]:
    """One lane that may have 50 running."""
    jobs = settings.jobs(JOBS_OF_TENANTS)

    def submit() -> None:
        _of_one_tenant(jobs, NOOP)
        Lane.objects.update(max_running=LIMIT_OF_LANE)

    for _ in settings.each_run():
        beside = floor_beside(jobs)
        drained = _within(LIMIT_OF_LANE, submit, *ONE_PROCESS, "--concurrency", "50")
        yield {"drain": Figure(drained.per_second, beside)}


def many_tenants(settings: Settings) -> Iterator[Sample]:
    """Half of the jobs one tenant's, the others' spread evenly; with limits, then without."""
    jobs = settings.jobs(JOBS_OF_TENANTS)
    tenants = settings.jobs(TENANTS)
    workers = (*TWO_PROCESSES, "--concurrency", "50")
    for _ in settings.each_run():
        beside = floor_beside(jobs)
        free = load.drain(lambda: _of_many_tenants(tenants, jobs, None), *workers)
        limited = _within(
            LIMIT_OF_TENANT,
            lambda: _of_many_tenants(tenants, jobs, LIMIT_OF_TENANT),
            *workers,
        )
        cost = 100 * (1 - limited.per_second / free.per_second)
        say(f"    {limited.per_second:,.0f} jobs/s with limits, {free.per_second:,.0f} without")
        yield {
            "drain": Figure(limited.per_second, beside),
            "while others wait": Figure(_while_others_wait(limited)),
            "without limits": Figure(free.per_second, beside),
            "cost of limits": Figure(cost),
        }


def _while_others_wait(drained: load.Drained) -> float:
    """Jobs per second of all tenants, until only the first has jobs left: they pass by fives."""
    rows = drained.rows()
    others = rows.exclude(tenant_id=min(drained.tenants))
    began = rows.aggregate(at=Min("started_at"))["at"]
    until = others.aggregate(at=Max("finished_at"))["at"]
    return rate(rows.filter(finished_at__lte=until).count(), (until - began).total_seconds())


def _of_many_tenants(tenants: int, jobs: int, limit: int | None) -> None:
    """The first tenant has half of the jobs; the others get theirs as evenly as it goes."""
    Tenant.objects.bulk_create(
        Tenant(slug=f"t{n}", max_running=limit, submissions_per_minute=None) for n in range(tenants)
    )
    first, *others = Tenant.objects.order_by("pk")
    left = jobs - load.submit_bulk(first, jobs // 2, NOOP)
    for number, tenant in enumerate(others):
        share = left // len(others) + (number < left % len(others))
        load.submit_bulk(tenant, share, NOOP)


def _within(limit: int, submit: Callable[[], object], *workers: str) -> load.Drained:
    """A drain in which no tenant ever had more running than the limit.

    Looked at in two ways: by samples while it runs, and afterwards by the times in the rows.
    Raises `BenchError` if there were more.
    """
    sampler = _Sampler()
    drained = load.drain(submit, *workers, beside=sampler.sampling)
    overlap = most_at_once(drained.rows())
    say(f"    at most {sampler.most} running of a tenant by samples, {overlap} by times")
    if max(sampler.most, overlap) > limit:
        raise BenchError(
            f"{sampler.most} jobs of a tenant ran at once by samples and {overlap} by times: "
            f"{limit} were allowed."
        )
    return drained


class _Sampler:
    """Looks again and again how many jobs of a tenant are running."""

    def __init__(self) -> None:
        self.most = 0
        self._stopped = threading.Event()

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Look for as long as the block takes."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _look(self) -> None:
        running = Job.objects.filter(status=Status.RUNNING).order_by().values_list("tenant_id")
        try:
            while not self._stopped.wait(SAMPLING_SECONDS):
                counts = [jobs for _, jobs in running.annotate(Count("pk"))]
                self.most = max([self.most, *counts])
        finally:
            connection.close()


def most_at_once(rows: QuerySet[Job]) -> int:
    """The most jobs of one tenant at once, by the times in the rows."""
    spans: dict[int, list[tuple[float, float]]] = defaultdict(list)
    times = rows.values_list("tenant_id", "started_at", "finished_at")
    for tenant_id, started, finished in times.iterator():
        if started is None or finished is None:
            raise BenchError("A job that is done has no times.")
        spans[tenant_id].append((started.timestamp(), finished.timestamp()))
    return max(peak_overlap(of_tenant) for of_tenant in spans.values())
