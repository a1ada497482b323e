"""Lists and counts of a tenant whose jobs are a tenth of a long history."""

import time
from collections.abc import Iterator
from urllib.parse import quote

from django.db import connection

from bench import load
from bench.figures import percentile
from bench.history import copy
from bench.scenario import Figure, Sample, Settings, say
from bench.service import apply, gets, tenant_with_keys
from bench.service_client import Load
from bench.service_server import OURS, served
from jobs.instants import instant
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

OTHERS, JOBS, SHORT = 9, 1_000_000, 0.05
"""Other tenants, the jobs of each tenant, and the fraction of them without `--long`."""
PARTS = 10
"""Jobs of all statuses and tenants come in turns, as they do in life."""
SHARES = {
    Status.DONE: 0.96,
    Status.SCHEDULED: 0.01,
    Status.FAILED: 0.005,
    Status.DLQ: 0.005,
    Status.PENDING: 0.02,
}
COUNTS = ("/metrics", "/queues")
CALL_SECONDS = 0.5

_READ = """
SELECT seq_scan, seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'jobs_job'"""


def lists(settings: Settings) -> Iterator[Sample]:
    """Each call by itself, again and again over one connection."""
    load.wipe()
    tenant, keys = tenant_with_keys("large", None)
    _fill(tenant, settings.jobs(JOBS if settings.is_long else round(JOBS * SHORT)))
    paths = _paths(tenant)
    for _ in settings.each_run():
        with served(OURS) as port:
            slowest = {}
            scans, rows = _read()
            calls = 0
            for path in (*paths, *COUNTS):
                requests = gets(f"/api/v1{path}", keys)
                waits = _waits(port, requests, settings)
                slowest[path] = 1_000 * percentile(waits, 95)
                calls += len(waits)
                say(f"    {slowest[path]:6.1f} ms  {path}")
        after = _read()
        yield {
            "slowest list, p95": Figure(max(slowest[path] for path in paths)),
            "slowest count, p95": Figure(max(slowest[path] for path in COUNTS)),
            "rows read by a call": Figure((after[1] - rows) / calls),
            "scans of all rows": Figure(after[0] - scans),
        }


def _fill(tenant: Tenant, jobs: int) -> None:
    others = [load.make_tenant(f"other-{number}") for number in range(OTHERS)]
    for each in (tenant, *others):
        for status in SHARES:
            make_job(each, status)
    for _ in range(PARTS):
        copy(Job.objects.filter(tenant__in=others, status=Status.DONE), OTHERS * jobs // PARTS)
        for status, share in SHARES.items():
            copy(
                Job.objects.filter(tenant=tenant, status=status),
                max(1, round(jobs * share / PARTS)),
            )
    load.settle()


def _paths(tenant: Tenant) -> list[str]:
    """Lists as people and programs ask for them, up to the oldest jobs."""
    ids = Job.objects.filter(tenant=tenant).order_by("pk").values_list("pk", flat=True)
    middle = Job.objects.get(pk=ids[len(ids) // 2]).created_at
    statuses = [f"/jobs?status={status}" for status in SHARES]
    return [
        "/jobs",
        *statuses,
        "/jobs?queue=default",
        "/jobs?queue=unknown",
        "/jobs?status=RUNNING",
        f"/jobs?filter={quote('error:unheard-of')}",
        "/dlq",
        f"/jobs?created_before={quote(instant(middle))}",
    ]


def _waits(port: int, requests: list[str], settings: Settings) -> list[float]:
    """Seconds of the calls, after a few that fill caches."""
    for seconds in (0.0, settings.scale * CALL_SECONDS):
        answers = apply(Load(port=port, requests=requests, connections=1, seconds=seconds), "200")
    return answers.waits


def _read() -> tuple[int, int]:
    """Scans of the whole table of jobs so far, and rows of it that were read in any way."""
    time.sleep(1.5)  # the server adds up what its processes did once in a second
    with connection.cursor() as cursor:
        cursor.execute(_READ)
        scans, rows = cursor.fetchone()
    return scans, rows
