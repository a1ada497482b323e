"""The jobs of a run: submitted, set free for warm workers, waited for, and counted to the last."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from django.core.management.color import no_style
from django.db import connection
from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum

from bench.figures import rate
from bench.scenario import BenchError
from jobs import services, wakeup
from jobs.models import Job, Lane, LaneMinute, Tenant
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.harness import running_workers

BULK = 1_000
WARM_UP_JOBS = 300
WARM_UP = "warm-up"
SLOWEST_PER_SECOND = 400
"""A drain that is slower than this is given up: every scenario has a bounded time."""


@dataclass(frozen=True)
class Drained:
    """How a drain went: jobs, and seconds from the first start to the last finish."""

    jobs: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Jobs per second."""
        return rate(self.jobs, self.seconds)


def drain(
    submit: Callable[[], int],
    *workers: str,
    beside: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Drained:
    """Run the jobs that `submit` makes, on real `manage.py runworkers` with these arguments.

    The jobs wait in paused lanes until the workers have announced themselves and have run a few
    jobs of another tenant; then all lanes are resumed by one statement. `beside` is entered for as
    long as the jobs run. Raises `BenchError` unless every one of them is done exactly once.
    """
    wipe()
    jobs = submit()
    Lane.objects.update(is_paused=True)
    settle()
    with running_workers(*workers):
        warm_up()
        with beside():
            Lane.objects.update(is_paused=False)
            wakeup.signal()
            wait_for(jobs)
    return counted(jobs)


def wipe() -> None:
    """Empty all tables of the queue."""
    tables = [t for t in connection.introspection.table_names() if t.startswith("jobs_")]
    statements = connection.ops.sql_flush(no_style(), tables, allow_cascade=True)
    connection.ops.execute_sql_flush(statements)


def settle() -> None:
    """Leave the database as it is some time after a burst: cleaned up, looked at, written out."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE) jobs_job")
            cursor.execute("CHECKPOINT")


def make_tenant(slug: str, **fields: object) -> Tenant:
    """A tenant without limits, unless told."""
    unlimited = {"max_running": None, "submissions_per_minute": None}
    return Tenant.objects.create(slug=slug, **unlimited | fields)


def submit_bulk(tenant: Tenant, jobs: int, job: NewJob) -> int:
    """Submit so many equal jobs through the Python API, a thousand to a transaction."""
    for begin in range(0, jobs, BULK):
        services.submit_many(tenant, [job] * min(BULK, jobs - begin))
    return jobs


def warm_up(task: str = "bench.tasks.noop") -> None:
    """Have the workers import, connect and plan, with jobs that are not counted."""
    submit_bulk(make_tenant(WARM_UP), WARM_UP_JOBS, NewJob(task=task, payload=b"{}"))
    warm = LaneMinute.objects.filter(tenant_id=Tenant.objects.get(slug=WARM_UP).pk)
    _wait(lambda: (warm.aggregate(n=Sum("done"))["n"] or 0) >= WARM_UP_JOBS, 60, "the warm-up")


def ended() -> int:
    """How many jobs have ended, without the warm-up; counted from the lanes' minutes."""
    of_others = LaneMinute.objects.exclude(
        tenant_id__in=Tenant.objects.filter(slug=WARM_UP).values("pk")
    )
    return of_others.aggregate(n=Sum(F("done") + F("dead") + F("cancelled")))["n"] or 0


def wait_for(jobs: int) -> None:
    """Until so many have ended; looks seldom, at a small table, so as not to be in the way."""
    _wait(lambda: ended() >= jobs, 30 + jobs / SLOWEST_PER_SECOND, f"{jobs} jobs")


def counted_jobs() -> QuerySet[Job]:
    """The jobs of the run, without the warm-up."""
    return Job.objects.exclude(tenant__slug=WARM_UP).order_by()


def counted(jobs: int, result: bytes | None = b"null") -> Drained:
    """How it went, by the times in the jobs' rows.

    Raises `BenchError` unless there are so many jobs, each DONE at its first attempt with its
    result kept: this one, or any where `result` is None.
    """
    kept = Q(result__isnull=False) if result is None else Q(result=result)
    found = counted_jobs().aggregate(
        all=Count("pk"),
        good=Count("pk", filter=Q(status=Status.DONE, attempt=1, lost_count=0) & kept),
        first=Min("started_at"),
        last=Max("finished_at"),
    )
    if (found["all"], found["good"]) != (jobs, jobs):
        raise BenchError(f"Of {jobs} jobs, {found['all']} are there and {found['good']} are good.")
    return Drained(jobs, (found["last"] - found["first"]).total_seconds())


def _wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not done within {seconds:.0f} seconds")
        time.sleep(0.1)
