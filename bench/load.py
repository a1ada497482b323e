"""The jobs of a run: submitted, set free for warm workers, waited for, and counted to the last."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from django.core.management.color import no_style
from django.db import connection
from django.db.models import Count, Max, Min, Q, QuerySet

from bench.figures import rate
from bench.scenario import BenchError
from jobs import services, wakeup
from jobs.models import Job, Lane, Tenant
from jobs.statuses import Status
from jobs.store.minutes import total
from jobs.submission import NewJob
from tests.harness import running_workers

BULK = 1_000
WARM_UP = "warm-up"
WARM_UP_JOBS = 300
SLOWEST_PER_SECOND = 400
"""A drain that is slower than this is given up: every scenario has a bounded time."""


@dataclass(frozen=True)
class Drained:
    """How a drain went: jobs, and seconds from the first start to the last finish."""

    jobs: int
    seconds: float
    tenants: tuple[int, ...]

    @property
    def per_second(self) -> float:
        """Jobs per second."""
        return rate(self.jobs, self.seconds)

    def rows(self) -> QuerySet[Job]:
        """The jobs."""
        return jobs_of(self.tenants)


def drain(
    submit: Callable[[], object],
    *workers: str,
    beside: Callable[[], AbstractContextManager[object]] = nullcontext,
    keep: bool = False,
    result: bytes | None = b"null",
) -> Drained:
    """Run the jobs that `submit` makes, on real `manage.py runworkers` with these arguments.

    `beside` is entered for as long as the jobs run. All that was in the tables is removed before,
    unless `keep`. Raises `BenchError` unless every job is DONE at its first attempt with this
    result kept, or with any where `result` is None.
    """
    if not keep:
        wipe()
    tenants = submitted_by(submit)
    jobs = jobs_of(tenants).count()
    with released(*workers), beside():
        wait_for(jobs, tenants)
    return counted(jobs, tenants, result)


def submitted_by(submit: Callable[[], object]) -> tuple[int, ...]:
    """Have jobs submitted; answers the ids of the tenants that were made for it."""
    newest = Tenant.objects.aggregate(newest=Max("pk"))["newest"] or 0
    submit()
    return tuple(Tenant.objects.filter(pk__gt=newest).values_list("pk", flat=True))


@contextmanager
def released(*workers: str) -> Iterator[None]:
    """Let warm workers at the jobs that are there.

    The jobs wait in paused lanes until the workers have announced themselves and have run a few
    jobs of another tenant; then all lanes are resumed by one statement.
    """
    Lane.objects.update(is_paused=True)
    settle()
    with running_workers(*workers):
        warm_up()
        Lane.objects.update(is_paused=False)
        wakeup.signal()
        yield


def wipe() -> None:
    """Empty all tables of the queue."""
    tables = [t for t in connection.introspection.table_names() if t.startswith("jobs_")]
    statements = connection.ops.sql_flush(no_style(), tables, allow_cascade=True)
    connection.ops.execute_sql_flush(statements)


def settle() -> None:
    """Leave the database as it is some time after a burst: cleaned up, looked at, written out."""
    statements = {
        "postgresql": ("VACUUM (ANALYZE) jobs_job", "CHECKPOINT"),
        "sqlite": ("PRAGMA wal_checkpoint(TRUNCATE)",),
    }
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)


def make_tenant(slug: str, **fields: object) -> Tenant:
    """A tenant without limits, unless told."""
    unlimited = {"max_running": None, "submissions_per_minute": None}
    return Tenant.objects.create(slug=slug, **unlimited | fields)


def submit_bulk(tenant: Tenant, jobs: int, job: NewJob) -> int:
    """Submit so many equal jobs through the Python API, a thousand to a transaction."""
    for begin in range(0, jobs, BULK):
        services.submit_many(tenant, [job] * min(BULK, jobs - begin))
    return jobs


def warm_up() -> None:
    """Have the workers import, connect and plan, with jobs that are not counted."""
    Tenant.objects.filter(slug=WARM_UP).update(slug=f"{WARM_UP}-{time.monotonic_ns()}")
    job = NewJob(task="bench.tasks.noop", payload=b"{}")
    tenants = submitted_by(lambda: submit_bulk(make_tenant(WARM_UP), WARM_UP_JOBS, job))
    wait_for(WARM_UP_JOBS, tenants)


def jobs_of(tenants: Collection[int]) -> QuerySet[Job]:
    """The jobs of these tenants."""
    return Job.objects.filter(tenant_id__in=tenants).order_by()


def ended(tenants: Collection[int]) -> int:
    """How many jobs of these tenants have ended, by the counts of the minutes."""
    return sum(total(("done", "dead", "cancelled"), tenants))


def wait_for(jobs: int, tenants: Collection[int]) -> None:
    """Until so many have ended; looks seldom, at a small table, so as not to be in the way."""
    seconds = 30 + jobs / SLOWEST_PER_SECOND
    deadline = time.monotonic() + seconds
    while (done := ended(tenants)) < jobs:
        if time.monotonic() > deadline:
            raise BenchError(f"Of {jobs} jobs, {done} have ended within {seconds:.0f} seconds.")
        time.sleep(0.1)


def counted(jobs: int, tenants: tuple[int, ...], result: bytes | None) -> Drained:
    """How it went, by the times in the rows; raises what `drain` raises."""
    kept = Q(result__isnull=False) if result is None else Q(result=result)
    found = jobs_of(tenants).aggregate(
        all=Count("pk"),
        good=Count("pk", filter=Q(status=Status.DONE, attempt=1, lost_count=0) & kept),
        first=Min("started_at"),
        last=Max("finished_at"),
    )
    if not jobs or (found["all"], found["good"]) != (jobs, jobs):
        raise BenchError(f"Of {jobs} jobs, {found['all']} are there and {found['good']} are good.")
    return Drained(jobs, (found["last"] - found["first"]).total_seconds(), tenants)
