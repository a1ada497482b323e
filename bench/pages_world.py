"""An installation of a month: tenants, queues, jobs in all statuses, people and keys.

Made by SQL, some hundred thousand rows to a statement: the Python API would need hours. Each row
follows from its number, so that a job and its tags agree.
"""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from bench import load, pages_counts
from bench.pages_words import in_words
from bench.scenario import say
from jobs.keys import create_api_key
from jobs.models import AuditEntry, Job, Lane, Line, Role, Tenant, Worker

DAYS = 30
QUEUES = ("default", "mail", "export", "sync", "reports")
TASKS = ("echo", "mail.send", "export.csv", "sync.pull", "report.render")
LARGEST = 20
"""The queues of one tenant have so many times as many jobs as others."""
PORTION = 250_000
AUDITED, AUDITED_AT_ONCE, WORKERS = 100_000, 5_000, 20

_OF_1000 = {"DLQ": 20, "PENDING": 11, "SCHEDULED": 5, "FAILED": 2, "CANCELLED": 5}
_RUNNING_OF, _TAGGED_OF = 20_000, 33
_WORDS = ("host", "disk", "quota", "schema", "token", "invoice", "parcel", "account")
_DAY = 86_400_000
"""Milliseconds."""


class World(NamedTuple):
    """Who there is: the tenants, that with most jobs first, its key, and who looks."""

    tenants: list[Tenant]
    key: str
    people: Mapping[str, User]

    @property
    def largest(self) -> Tenant:
        """Who has most jobs."""
        return self.tenants[0]


def fill(jobs: int, tenants_there: int, days_counted: int = DAYS) -> World:
    """Empty the database and make the installation."""
    load.wipe()
    User.objects.all().delete()
    tenants = _make_tenants(tenants_there)
    places = _make_places(tenants)
    _make_jobs(jobs, places)
    pages_counts.make(days_counted)
    _make_audit_log(tenants, min(jobs, AUDITED))
    _make_workers()
    keys = [create_api_key(one, actor="command:bench")[1] for one in tenants]
    people = _make_people(tenants)
    _settle()
    return World(tenants, keys[0], people)


def _make_tenants(count: int) -> list[Tenant]:
    slugs = [f"tenant-{number:03}" for number in range(count)]
    made = [Tenant(slug=slug, max_running=None, submissions_per_minute=None) for slug in slugs]
    return Tenant.objects.bulk_create(made)


def _make_places(tenants: list[Tenant]) -> int:
    """Queues with a line each, numbered in a table; those of the first tenant have more numbers."""
    lanes = Lane.objects.bulk_create(
        Lane(tenant=tenant, queue=queue) for tenant in tenants for queue in QUEUES
    )
    task_of = dict(zip(QUEUES, TASKS, strict=True))
    lines = Line.objects.bulk_create(Line(lane=lane, task=task_of[lane.queue]) for lane in lanes)
    rows = [
        (number, line.lane.pk, line.lane.tenant_id, line.pk, line.lane.queue, line.task)
        for number, line in enumerate([*lines, *lines[: len(QUEUES)] * (LARGEST - 1)])
    ]
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench_place")
        cursor.execute(
            "CREATE TEMPORARY TABLE bench_place (number bigint PRIMARY KEY, lane_id bigint,"
            " tenant_id bigint, line_id bigint, queue varchar(128), task varchar(128))"
        )
        cursor.executemany("INSERT INTO bench_place VALUES (%s, %s, %s, %s, %s, %s)", rows)
    return len(rows)


_AT = "(%(since)s + n * %(step)s / 1000)"
_ID = f"UUID(HEX({_AT}, 12) || '7' || HEX(n %% 4096, 3) || 'a' || HEX(mix, 15))"
_WHENS = "".join(
    f" WHEN mix %% 1000 < {sum(list(_OF_1000.values())[: at + 1])} THEN '{status}'"
    for at, status in enumerate(_OF_1000)
)
_STATUS = f"CASE WHEN mix %% {_RUNNING_OF} = 999 THEN 'RUNNING'{_WHENS} ELSE 'DONE' END"
_IS_TAGGED = f"mix / 1000 %% {_TAGGED_OF} = 0"
_HAS_FAILED = "status IN ('DLQ', 'FAILED')"
_HAS_STARTED = "status IN ('DONE', 'DLQ', 'FAILED', 'RUNNING')"
_LATER = f"CASE WHEN status IN ('SCHEDULED', 'FAILED') THEN {DAYS * _DAY} ELSE 0 END"
_COLUMNS = {
    "id": _ID,
    **{name: name for name in ("tenant_id", "lane_id", "line_id", "queue", "task", "status")},
    "priority": "0",
    "worker_tags": "''",
    "payload": """BYTES('{"customer": ' || n || ', "text": "a payload as usual"}')""",
    "has_args": "FALSE",
    "result": "CASE WHEN status = 'DONE' THEN BYTES('null') END",
    "attempt": f"CASE WHEN {_HAS_STARTED} THEN 1 ELSE 0 END",
    "max_retries": "3",
    "lost_count": "0",
    "fence": f"CASE WHEN {_HAS_STARTED} THEN 1 ELSE 0 END",
    "worker": f"CASE WHEN {_HAS_STARTED} THEN 'worker-' || n %% {WORKERS} ELSE '' END",
    "cancel_requested": "FALSE",
    "error_type": f"CASE WHEN {_HAS_FAILED} THEN 'Error' || CHARACTER(65 + mix / 33000 %% 26)"
    " ELSE '' END",
    "error_message": f"CASE WHEN {_HAS_FAILED} THEN 'no ' || WORD(mix / 900000 %% {len(_WORDS)})"
    " || ' for customer ' || n ELSE '' END",
    "reason": "CASE WHEN status = 'DLQ' THEN 'retries_exhausted' ELSE '' END",
    "tags": f"""CASE WHEN {_IS_TAGGED} THEN JSON('["vip"]') ELSE JSON('[]') END""",
    "idempotency_key": "NULL",
    "request_hash": "''",
    "created_at": f"TIME({_AT})",
    "run_at": f"TIME({_AT} + {_LATER})",
    "started_at": f"CASE WHEN {_HAS_STARTED} THEN TIME({_AT} + 900) END",
    "finished_at": "CASE WHEN status IN ('DONE', 'DLQ', 'FAILED', 'CANCELLED')"
    f" THEN TIME({_AT} + 1900) END",
    "lease_expires_at": "CASE WHEN status = 'RUNNING'"
    f" THEN TIME(%(since)s + {(DAYS + 1) * _DAY}) END",
}
_MIXED = "(SELECT n, n * 48271 %% 2147483647 AS mix FROM SERIES(%(first)s, %(last)s)) AS mixed"
_JOBS = f"""
INSERT INTO jobs_job ({", ".join(_COLUMNS)})
SELECT {", ".join(_COLUMNS.values())}
FROM (SELECT n, mix, {_STATUS} AS status FROM {_MIXED}) AS job
JOIN bench_place AS place ON place.number = n * 7919 %% %(places)s
ORDER BY n"""
_TAGS = f"""
INSERT INTO jobs_jobtag (job_id, tenant_id, tag)
SELECT {_ID}, tenant_id, 'vip' FROM {_MIXED}
JOIN bench_place AS place ON place.number = n * 7919 %% %(places)s
WHERE {_IS_TAGGED} ORDER BY n"""
_ATTEMPTS = f"""
INSERT INTO jobs_attempt (job_id, number, fence, outcome, error_type, message, traceback, worker,
    started_at, finished_at)
SELECT id, attempt, fence, 'failed', error_type, error_message, 'Traceback: ' || error_message,
    worker, started_at, finished_at
FROM jobs_job WHERE {_HAS_FAILED}"""


def _make_jobs(jobs: int, places: int) -> None:
    """Jobs of all statuses and tenants, by turns, as in life; the last is of this moment."""
    is_postgresql = connection.vendor == "postgresql"
    given: dict[str, Any] = {
        "since": time.time_ns() // 1_000_000 - DAYS * _DAY,
        "step": DAYS * _DAY * 1_000 // jobs,
        "places": places,
        "words": list(_WORDS) if is_postgresql else json.dumps(_WORDS),
    }
    with connection.cursor() as cursor:
        for first, after in pairwise([*range(1, jobs + 1, PORTION), jobs + 1]):
            for statement in (_JOBS, _TAGS):
                cursor.execute(in_words(statement), {**given, "first": first, "last": after - 1})
            say(f"    {after - 1:,} of {jobs:,} jobs made")
        cursor.execute(_ATTEMPTS)


def _make_audit_log(tenants: list[Tenant], entries: int) -> None:
    said = {"actor": "user:operator", "action": "cancel", "details": {"count": 1}}
    AuditEntry.objects.bulk_create(
        (
            AuditEntry(tenant=tenants[number % len(tenants)], target=f"job-{number}", **said)
            for number in range(entries)
        ),
        batch_size=AUDITED_AT_ONCE,
    )


def _make_workers() -> None:
    """Workers that are alive for a day, as nobody is there to say that they are."""
    now = timezone.now()
    seen = {"started_at": now, "seen_at": now + timedelta(days=1), "slots": 25, "running": 25}
    for number in range(WORKERS):
        Worker.objects.create(id=f"worker-{number}", host="host", pid=number, tasks=TASKS, **seen)


def _make_people(tenants: list[Tenant]) -> dict[str, User]:
    """Who looks after it all, and members of some tenants."""
    people = {"operator": User.objects.create_superuser("operator")}
    for name, own in (("member", tenants[:1]), ("member of three", tenants[:3])):
        people[name] = User.objects.create_user(name)
        rights = {"role": Role.ADMIN, "sees_payloads": True}
        people[name].tenants.set(own, through_defaults=rights)
    return people


def _settle() -> None:
    """Leave the database as it is long after: vacuumed and analysed, on disk.

    The minutes of a month were there at once, which in life they never are.
    """
    load.settle()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (FULL) jobs_laneminute")
            cursor.execute("VACUUM (ANALYZE)")
    say(f"    {Job.objects.count():,} jobs are there")
