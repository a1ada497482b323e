"""On a large table, what is read every second is found by an index, never by a walk over jobs."""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from dashboard.queries import counts, dead_letters, job_list
from dashboard.queries.attention import attention
from dashboard.queries.board import Board
from dashboard.scope import PageScope
from dashboard.snapshot import read_snapshot
from jobs import figures
from jobs.filters import parse
from jobs.models import Job, Lane, Tenant
from jobs.statuses import Status
from jobs.store.depths import lanes_with_counts
from tests.factories import copy_job, make_job

FINISHED = 3_000
# SQLite scans a partial index of live jobs by the word SCAN too.
WALK = re.compile(r"Seq Scan on jobs_job|SCAN jobs_job(?! USING (?:COVERING )?INDEX job_[rud])")


@pytest.fixture
def large(alice: Tenant) -> Tenant:
    """Thousands of finished jobs, and one of each that is not."""
    copy_job(make_job(alice, Status.DONE), FINISHED)
    for status in (Status.DLQ, Status.SCHEDULED, Status.RUNNING, Status.PENDING):
        make_job(alice, status, queue=status.lower())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return alice


Statement = tuple[str, Any]


def plans_of(statements: list[Statement]) -> list[str]:
    """Each statement with its plan."""
    prefix = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    plans = []
    for statement, parameters in statements:
        with connection.cursor() as cursor:
            cursor.execute(f"{prefix} {statement}", parameters)
            plan = "\n".join(" ".join(str(cell) for cell in row) for row in cursor.fetchall())
        plans.append(f"{statement}\n{plan}")
    return plans


def walked(statements: list[Statement]) -> list[str]:
    """The plans that go over all jobs."""
    return [plan for plan in plans_of(statements) if WALK.search(plan)]


def statements_of(read: Callable[[], object]) -> list[Statement]:
    """What is read, with its parameters apart: they can keep a partial index from being seen."""
    statements: list[Statement] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            statements.append((sql, parameters))
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(note):
        read()
    return statements


@pytest.mark.parametrize("status", [Status.DLQ, Status.SCHEDULED, Status.RUNNING])
def test_lists_of_rare_statuses_use_their_index(large: Tenant, status: Status) -> None:
    scope = PageScope(User(is_superuser=True), (large,), large)

    read = statements_of(lambda: job_list.page(scope, parse(f"status:{status}")))

    assert walked(read) == []


@pytest.mark.parametrize("text", ["queue:dlq", "tag:vip", "error:no", "created:>1h"])
def test_a_status_within_a_filter_is_counted_by_few_statements(large: Tenant, text: str) -> None:
    scope = PageScope(User(is_superuser=True), (large,), large)

    read = statements_of(lambda: job_list.counted(scope, parse(text), until=math.inf))

    assert len(read) <= 6 * len(Status)


@pytest.mark.parametrize("text", ["tag:vip", "tag:vip error:no", "status:DLQ error:no task:echo"])
def test_filters_use_indexes_for_all_tenants_as_well(large: Tenant, text: str) -> None:
    make_job(large, Status.DLQ, tags=("vip",), queue="tagged")
    scope = PageScope(User(is_staff=True), (large,), None)

    read = statements_of(lambda: job_list.page(scope, parse(text)))

    assert walked(read) == []


@pytest.mark.parametrize(
    "read",
    [
        lambda ids: read_snapshot(ids),
        lambda ids: list(counts.tenants_with_counts(ids)),
        lambda ids: lanes_with_counts(Lane.objects.filter(tenant__in=ids)),
        counts.by_status,
        counts.dead_of,
        lambda _: figures.lanes(),
    ],
    ids=["snapshot", "tenants", "lanes", "by status", "dead", "scrape"],
)
def test_counts_use_the_indexes_of_live_jobs(
    large: Tenant, read: Callable[[list[int]], object]
) -> None:
    assert walked(statements_of(lambda: read([large.pk]))) == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL goes by its statistics")
def test_a_scrape_counts_what_did_not_simply_end_by_an_index_alone(large: Tenant) -> None:
    unusual = [one for one in plans_of(statements_of(figures.lanes)) if "job_unusual" in one]

    assert len(unusual) == 1
    assert "USING COVERING INDEX job_unusual_of_lane" in unusual[0]


def test_jobs_without_a_worker_use_the_indexes_of_live_jobs(large: Tenant) -> None:
    long_ago = timezone.now() - timedelta(minutes=1)
    Job.objects.filter(status=Status.PENDING).update(run_at=long_ago)
    board = Board(PageScope(User(is_superuser=True), (large,), large))
    assert [one.waiting for one in board.unserved()] == [1]

    assert walked(statements_of(Board(board.scope).unserved)) == []


def test_what_needs_attention_is_found_by_indexes(large: Tenant) -> None:
    long_ago = timezone.now() - timedelta(minutes=10)
    Job.objects.filter(status__in=[Status.PENDING, Status.SCHEDULED]).update(run_at=long_ago)
    scope = PageScope(User(is_staff=True), (large,), large)
    assert attention(Board(scope)).late == long_ago

    assert walked(statements_of(lambda: attention(Board(scope)))) == []


def test_dead_letters_use_their_index(large: Tenant) -> None:
    scope = PageScope(User(is_superuser=True), (large,), large)

    (dead,) = dead_letters.newest(scope)
    assert walked(statements_of(lambda: dead_letters.newest(scope))) == []
    assert walked(statements_of(lambda: dead_letters.listed([dead]))) == []


def test_a_walk_over_jobs_would_be_noticed(large: Tenant) -> None:
    assert walked(statements_of(lambda: Job.objects.filter(status=Status.DONE).count()))
