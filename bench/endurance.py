"""A drain without an end, and what disturbs it: a transaction left open, a cleaning up."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
from django.db import connection

from bench import load
from bench.drains import NOOP, ONE_PROCESS
from bench.figures import rate, worst_window
from bench.history import copy
from bench.scenario import Figure, Sample, Settings, say
from jobs import retention, store
from jobs.models import Job, Tenant
from tests.harness import database_url, running_workers

BACKLOG = 20_000
LOOK_SECONDS = 0.25
WINDOW_SECONDS, CALM_SECONDS = 30.0, 20.0
OLD, TEMPLATES = 1_000_000, 100
WORKERS = (*ONE_PROCESS, "--concurrency", "10")
AT_ONCE = store.Ages(finished=0, dead=0)


class EndlessDrain:
    """Jobs of one tenant, submitted through the Python API as fast as they are run."""

    def __init__(self, tenant: Tenant) -> None:
        self.least_backlog = float("inf")
        self._tenant = tenant
        self._submitted = 0
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Feed for as long as the block takes; then wait for all jobs and count them.

        Raises `BenchError` unless every one of them is done.
        """
        with running_workers(*WORKERS):
            load.warm_up()
            with ThreadPoolExecutor(1) as thread:
                feeding = thread.submit(self._feed)
                try:
                    self.watch(2.0)
                    self.least_backlog = float("inf")
                    yield
                finally:
                    self._stopped.set()
                feeding.result()
            load.wait_for(self._submitted, [self._tenant.pk])
        load.counted(self._submitted, (self._tenant.pk,), b"null")

    def watch(self, seconds: float) -> list[tuple[float, float]]:
        """Look on for so long; answers the times, in seconds, and the jobs ended by then."""
        until = time.monotonic() + seconds
        counts = [self.look()]
        while time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            counts.append(self.look())
        return counts

    def look(self) -> tuple[float, float]:
        """The time, and how many jobs have ended."""
        done = load.ended([self._tenant.pk])
        self.least_backlog = min(self.least_backlog, self._submitted - done)
        return time.monotonic(), done

    def _feed(self) -> None:
        try:
            while not self._stopped.is_set():
                if self._submitted - load.ended([self._tenant.pk]) < BACKLOG:
                    self._submitted += load.submit_bulk(self._tenant, load.BULK, NOOP)
                else:
                    self._stopped.wait(0.05)
        finally:
            connection.close()


def open_transaction(settings: Settings) -> Iterator[Sample]:
    """A drain for minutes while another connection keeps a snapshot: nothing can be cleaned up."""
    for _ in settings.each_run():
        yield _beside_snapshot(settings.minutes * 60)


def _beside_snapshot(seconds: float) -> Sample:
    load.wipe()
    drain = EndlessDrain(load.make_tenant("bench"))
    window = min(WINDOW_SECONDS, seconds / 4)
    with drain.running(), _old_snapshot():
        counts = drain.watch(seconds)
    at_first = per_second([c for c in counts if c[0] <= counts[0][0] + window])
    worst = worst_window(counts, window)
    say(f"    {at_first:,.0f} jobs/s at first, {worst:,.0f} in the worst {window:.0f} s")
    return {
        "at first": Figure(at_first),
        "worst window": Figure(worst, at_first),
        "least backlog": Figure(drain.least_backlog),
    }


@contextmanager
def _old_snapshot() -> Iterator[None]:
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM jobs_tenant")
        yield
        other.execute("ROLLBACK")


def deletion(settings: Settings) -> Iterator[Sample]:
    """A drain while 1,000,000 finished jobs are purged."""
    for _ in settings.each_run():
        yield _beside_deletion(settings.jobs(OLD), CALM_SECONDS * min(1, settings.scale))


def _beside_deletion(old: int, calm_seconds: float) -> Sample:
    load.wipe()
    archive = _make_archive(old)
    load.settle()
    drain = EndlessDrain(load.make_tenant("bench"))
    with drain.running():
        before = per_second(drain.watch(calm_seconds))
        begin = drain.look()
        deleted = _purge(archive)
        end = drain.look()
    during = per_second([begin, end])
    say(f"    {before:,.0f} jobs/s before, {during:,.0f} while {deleted:,} jobs are deleted")
    return {
        "drain": Figure(during, before),
        "slower than before": Figure(100 * (1 - during / before)),
        "deleted": Figure(rate(deleted, end[0] - begin[0])),
        "least backlog": Figure(drain.least_backlog),
    }


def _make_archive(jobs: int) -> Tenant:
    """A tenant with so many finished jobs."""
    archive = load.drain(
        lambda: load.submit_bulk(load.make_tenant("archive"), TEMPLATES, NOOP), *WORKERS
    )
    copy(Job.objects.filter(tenant_id__in=archive.tenants), jobs)
    return Tenant.objects.get(pk=archive.tenants[0])


def _purge(tenant: Tenant) -> int:
    """Delete the tenant's jobs as the workers do; answers how many there were."""
    return sum(retention.resting(retention.purge(tenant, AT_ONCE)))


def per_second(counts: list[tuple[float, float]]) -> float:
    """Jobs per second from the first look to the last."""
    (start, done_then), (end, done_at_end) = counts[0], counts[-1]
    return rate(int(done_at_end - done_then), end - start)
