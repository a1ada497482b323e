"""A search finds what matches through an index, in a table of many finished jobs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from jobs.filters import parse
from jobs.instants import instant
from jobs.job_search import Search
from jobs.models import Job, JobTag, Tenant
from jobs.statuses import Status
from tests.factories import copy_job, make_job

pytestmark = pytest.mark.django_db

COUNTS = {Status.DONE: 1_500, Status.DLQ: 150, Status.FAILED: 150, Status.SCHEDULED: 150}
IN_ORDER = "job_of_tenant|jobs_job_pkey"
EXPECTED = {
    "": IN_ORDER,
    "queue:default": IN_ORDER,
    "error:timeout -tag:x": IN_ORDER,
    "created:>1000d": IN_ORDER,
    "status:PENDING": f"{IN_ORDER}|job_ready",
    "status:DLQ": "job_unusual|job_dead",
    "status:DLQ,FAILED,SCHEDULED error:timeout": "job_unusual|job_dead|job_due",
    "status:RUNNING": "job_running",
    "tag:seldom": "job_by_tag",
    "key:order-17": "job_idempotency",
}


@pytest.fixture
def history(alice: Tenant) -> Tenant:
    """Alice with many jobs that have ended, which the planner knows of, and one that waits.

    Nothing is claimed before those are made, as a transaction that claims may not rest for long.
    """
    first = make_job(alice, Status.CANCELLED, tags=("seldom",))
    jobs = [
        job
        for status, count in COUNTS.items()
        for job in copy_job(first, count, status=status.value)
    ]
    JobTag.objects.bulk_create(
        JobTag(job_id=job, tenant_id=alice.pk, tag=f"t{number}") for number, job in enumerate(jobs)
    )
    make_job(alice, Status.RUNNING, queue="other")
    make_job(alice, Status.PENDING)
    if connection.vendor == "postgresql":  # nobody makes statistics for SQLite
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
            cursor.execute("SET LOCAL enable_seqscan = off")  # the table is small enough for one
    return alice


@contextmanager
def explaining() -> Iterator[list[tuple[str, str]]]:
    """Collects the statements about jobs, each with its plan."""
    found: list[tuple[str, str]] = []
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        cursor = context["cursor"].cursor
        cursor.execute(explain + sql, params)
        if 'FROM "jobs_job"' in sql:
            found.append((sql, "\n".join(str(row[-1]) for row in cursor.fetchall())))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield found


@pytest.mark.parametrize("oldest_first", [False, True])
def test_a_step_reads_by_an_index(history: Tenant, *, oldest_first: bool) -> None:
    for text, index in EXPECTED.items():
        with explaining() as found:
            Search(history, parse(text), oldest_first=oldest_first).step(None, size=50)
        assert found
        for statement, plan in found:
            assert re.search(index, plan), (text, statement, plan)
            assert not re.search(r"SCAN jobs_job(?! USING)|Seq Scan", plan), plan


def test_ready_jobs_behind_a_long_history_are_found_by_their_index(
    history: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", 100)
    with explaining() as found:
        step = Search(history, parse("status:PENDING"), oldest_first=True).step(None, size=50)
    assert (len(step.ids), step.rest) == (1, None)
    by_lane = [plan for statement, plan in found if '"lane_id" IN' in statement]
    assert by_lane
    assert all("job_ready" in plan for plan in by_lane)


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(
    ("status", "index"),
    [
        ("PENDING", "job_ready"),
        ("RUNNING", "job_running"),
        *((status, "job_unusual") for status in ("SCHEDULED", "BLOCKED", "FAILED", "CANCELLED")),
    ],
)
def test_what_is_rare_is_found_by_its_index_for_all_tenants(
    history: Tenant, monkeypatch: pytest.MonkeyPatch, status: str, index: str, *, oldest_first: bool
) -> None:
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", 100)
    copy_job(make_job(history, Status.DONE, queue="new"), 200)  # so that nothing is near
    with explaining() as found:
        step = Search(None, parse(f"status:{status}"), oldest_first=oldest_first).step(None, size=9)
    assert len(step.ids) == min(9, Job.objects.filter(status=status).count())
    by_status = [plan for statement, plan in found if '"status" = ' in statement]
    assert by_status
    assert all(index in plan for plan in by_status), by_status


@pytest.mark.parametrize("status", ["SCHEDULED", "PENDING"])
def test_many_of_a_status_are_come_to_step_by_step(
    history: Tenant, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", 400)
    monkeypatch.setattr("jobs.job_search.MOST_SORTED", 0)
    search, found, rest, steps = Search(None, parse(f"status:{status}")), [], None, 0
    while rest is not None or not steps:
        ids, rest = search.step(rest, size=100)
        found += ids
        steps += 1
    wanted = Job.objects.filter(status=status).order_by("-pk")
    assert found == list(wanted.values_list("pk", flat=True))
    assert steps > 1


def test_a_search_by_time_is_bounded_where_ids_do_not_decide(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", 3)
    monkeypatch.setattr("jobs.job_filters.CLOCKS_AGREE_WITHIN", timedelta(hours=1))
    jobs = [make_job(alice) for _ in range(7)]
    before = jobs[0].created_at - timedelta(seconds=1)
    search = Search(alice, parse(f"created:<{instant(before)}"))
    steps, rest = [], jobs[-1].pk
    while rest is not None:
        found, rest = search.step(rest, size=10)
        steps.append(found)
    assert steps == [[], [], []]
    Job.objects.filter(pk=jobs[1].pk).update(created_at=before - timedelta(seconds=1))
    assert search.step(jobs[3].pk, size=10).ids == [jobs[1].pk]


def test_jobs_of_another_time_are_not_looked_at(alice: Tenant) -> None:
    make_job(alice)
    search = Search(alice, parse("created:>1h"))
    with explaining() as plans:
        assert search.step(None, size=10) == ([], None)
    assert plans
    assert all('"jobs_job"."id" < ' in statement for statement, _ in plans)


def test_what_runs_is_found_by_its_index_where_many_of_others_run(
    history: Tenant, mallory: Tenant
) -> None:
    copy_job(make_job(mallory, Status.DONE), 1_500, status=Status.RUNNING.value)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    with explaining() as plans:
        assert len(Search(history, parse("status:RUNNING")).step(None, size=1).ids) == 1
    assert all("job_running" in plan for _, plan in plans)


def test_few_are_looked_at_for_what_is_not_rare(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.job_search.FIRST_LOOK", 2)
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", 6)
    jobs = [make_job(alice, queue="rare"), *(make_job(alice) for _ in range(7))][::-1]
    often, rarely = (Search(alice, parse(f"queue:{queue}")) for queue in ("default", "rare"))
    assert often.step(None, size=2) == ([jobs[0].pk, jobs[1].pk], jobs[1].pk)
    assert rarely.step(None, size=2) == ([], jobs[5].pk)
    assert rarely.step(jobs[5].pk, size=2) == ([jobs[7].pk], None)


@pytest.mark.parametrize("looked_at", [10_000, 10])
def test_jobs_of_others_that_lie_between_are_not_read(
    history: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite goes by the tenant's index anyway")
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", looked_at)
    copy_job(make_job(mallory, Status.DONE), 2_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    middle = Job.objects.filter(tenant=history).order_by("-pk")[700].pk
    for text in ("queue:unknown", "status:DONE", "created:<1h", "status:PENDING queue:unknown"):
        with explaining() as plans:
            for after in (None, middle):
                Search(history, parse(text)).step(after, size=50)
        assert not [plan for _, plan in plans if "jobs_job_pkey" in plan], text


def test_a_key_of_any_tenant_is_found_by_its_index(history: Tenant) -> None:
    wanted = make_job(history, idempotency_key="order-17")
    with explaining() as found:
        step = Search(None, parse("key:order-17")).step(None, size=50)
    assert step == ([wanted.pk], None)
    assert [plan for statement, plan in found if "idempotency_key" in statement]
    for statement, plan in found:
        assert "idempotency_key" not in statement or "job_idempotency" in plan, plan


@pytest.mark.parametrize("is_of_all", [False, True])
def test_what_has_a_common_tag_is_come_to_step_by_step(
    alice: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch, *, is_of_all: bool
) -> None:
    monkeypatch.setattr("jobs.job_search.LOOKED_AT", 3)
    monkeypatch.setattr("jobs.job_search.MOST_TAGGED", 1)
    jobs = [make_job(alice, tags=("vip",) if number % 2 else ()) for number in range(8)]
    others = [make_job(mallory, tags=("vip",)) for _ in range(2)]
    search, found, rest, steps = Search(None if is_of_all else alice, parse("tag:vip")), [], None, 0
    while rest is not None or not steps:
        ids, rest = search.step(rest, size=5)
        found += ids
        steps += 1
    wanted = [*jobs[1::2], *(others if is_of_all else [])]
    assert found == [job.pk for job in wanted][::-1]
    assert steps > 1


def test_a_step_is_bounded_once_at_either_end(history: Tenant) -> None:
    """SQLite seeks with one bound alone, and might go to the farther of two."""
    text = "status:PENDING,RUNNING,FAILED queue:mail created:>1m created:<9d"
    with explaining() as found:
        search = Search(None, parse(text), oldest_first=True)
        search.step(Job.objects.order_by("pk")[3].pk, size=50)
    by_id = re.compile(r'"jobs_job"\."id" (<|>)')
    assert found
    for statement, plan in found:
        ends = by_id.findall(statement)
        assert len(ends) == len(set(ends)), statement
        if "'RUNNING'" in statement:
            assert "job_running" in plan, plan
