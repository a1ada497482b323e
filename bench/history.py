"""What a long life does to it: millions of rows that are not of the run."""

from collections.abc import Iterator
from statistics import median

import psycopg
from django.db.models import QuerySet

from bench import load
from bench.drains import JOBS, NOOP, ONE_PROCESS
from bench.scenario import Figure, Sample, Settings, say
from jobs.models import Job
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.harness import database_url

WAITING, WAITING_LANES, FINISHED = 1_000_000, 100, 10_000_000
COPIES = 250_000
WORKERS = (*ONE_PROCESS, "--concurrency", "10", "--queues", "default")

# The ids rise, as those of jobs do that were submitted one after the other, and say when that was.
_COPY = """
INSERT INTO jobs_job (id, created_at, {columns})
SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
    || lpad(to_hex(n %% 4096), 3, '0') || 'a' || substr(md5(random()::text), 1, 15))::uuid,
    clock_timestamp(), {columns}
FROM generate_series(1, %(each)s) AS n CROSS JOIN jobs_job AS template
WHERE template.id = ANY(%(templates)s)"""
_MADE = {"id", "created_at"}


def huge_table(settings: Settings) -> Iterator[Sample]:
    """A drain beside 1,000,000 other waiting jobs and 10,000,000 finished ones that were kept."""
    jobs = settings.jobs(JOBS)
    alone = [_drained(jobs, run, keep=False) for run in settings.each_run()]
    say(f"    {median(alone):,.0f} jobs/s in an empty table; filling it")
    copy(Job.objects.filter(status=Status.DONE), settings.jobs(FINISHED))
    _make_others_wait(settings.jobs(WAITING))
    for run in settings.each_run():
        beside = _drained(jobs, settings.runs + run, keep=True)
        slower = 100 * (1 - beside / median(alone))
        yield {"drain": Figure(beside, median(alone)), "slower than alone": Figure(slower)}


def _drained(jobs: int, run: int, *, keep: bool) -> float:
    def submit() -> None:
        load.submit_bulk(load.make_tenant(f"run{run}"), jobs, NOOP)

    return load.drain(submit, *WORKERS, keep=keep).per_second


def _make_others_wait(jobs: int) -> None:
    """Ready jobs in queues that the workers of the runs do not serve."""
    tenant = load.make_tenant("others")
    for number in range(WAITING_LANES):
        queue = f"other{number}"
        load.submit_bulk(tenant, 1, NewJob(task=NOOP.task, payload=NOOP.payload, queue=queue))
    copy(Job.objects.filter(tenant=tenant), jobs)


def copy(templates: QuerySet[Job], jobs: int) -> None:
    """Make so many more jobs, each like one of the first hundred of these.

    In SQL: the Python API would need an hour.
    """
    ids = list(templates.values_list("pk", flat=True)[:WAITING_LANES])
    columns = ", ".join(str(f.column) for f in Job._meta.concrete_fields if f.name not in _MADE)
    statement = _COPY.format(columns=columns).encode()
    with psycopg.connect(database_url(), autocommit=True) as connection:
        made = 0
        while made < jobs:
            each = max(1, min(COPIES, jobs - made) // len(ids))
            made += connection.execute(statement, {"each": each, "templates": ids}).rowcount
            say(f"    {made:,} of {jobs:,} rows made")
