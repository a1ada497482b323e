"""Bulk actions: what they act on, how fast, and that they come to each job once."""

import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.db.models import F

from jobs import job_search, operations, services
from jobs.errors import InvalidInput, OperationNotFound, StatusConflict, TooManyOperations
from jobs.filters import parse
from jobs.job_search import Search
from jobs.models import AuditEntry, Job, Operation, Tenant
from jobs.statuses import BulkAction, OperationState, Status
from jobs.store import bulk
from jobs.store.clock import now
from tests.factories import WORKER, make_job

pytestmark = pytest.mark.django_db

ME = "user:olga"
RUNNABLE = (Status.PENDING, Status.RUNNING, Status.FAILED, Status.SCHEDULED)


def make_dead(tenant: Tenant, count: int, **fields: object) -> list[Job]:
    return [make_job(tenant, Status.DLQ, **fields) for _ in range(count)]


def finish(operation: Operation) -> Operation:
    """Take its steps until it has ended."""
    while operation.state == OperationState.RUNNING:
        operations.step(WORKER)
        operation.refresh_from_db()
    return operation


def counts(operation: Operation) -> tuple[int, int, int]:
    return operation.matched, operation.done, operation.skipped


def begin(tenant: Tenant | None, action: BulkAction, text: str, **options: float) -> Operation:
    return operations.start(tenant, action, text, actor=ME, **options)


def statuses(jobs: list[Job]) -> list[str]:
    found = Job.objects.in_bulk([job.pk for job in jobs])
    return [found[job.pk].status if job.pk in found else "gone" for job in jobs]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of two jobs, among three looked at."""
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(job_search, "LOOKED_AT", 3)


@pytest.mark.parametrize(
    ("action", "moved"),
    [
        (BulkAction.CANCEL, dict.fromkeys(RUNNABLE, Status.CANCELLED)),
        (BulkAction.RETRY, {Status.FAILED: Status.PENDING}),
        (BulkAction.REDRIVE, {Status.DLQ: Status.PENDING}),
        (BulkAction.DISCARD, {Status.DLQ: "gone"}),
    ],
)
def test_an_action_acts_as_on_single_jobs(
    alice: Tenant, action: BulkAction, moved: dict[Status, str]
) -> None:
    every = [status for status in Status if status is not Status.BLOCKED]
    jobs = [make_job(alice, status, queue=f"q-{status}") for status in every]
    operation = finish(begin(alice, action, "task:echo"))
    expected = [moved.get(status, status) for status in every]
    if action is BulkAction.CANCEL:  # its worker is asked
        expected[every.index(Status.RUNNING)] = Status.RUNNING
        assert Job.objects.get(status=Status.RUNNING).cancel_requested
    assert statuses(jobs) == expected
    assert counts(operation) == (len(moved), len(moved), 0)
    assert operation.expected == len(moved)
    assert operation.finished_at is not None


def test_it_acts_on_what_matches_and_is_the_tenants(
    alice: Tenant, mallory: Tenant, small_steps: None
) -> None:
    wanted = make_dead(alice, 5, queue="mail", error_type="ReadTimeout")
    others = [
        *make_dead(alice, 4, queue="mail", error_type="KeyError"),
        *make_dead(alice, 4, queue="sms", error_type="ReadTimeout"),
        *make_dead(mallory, 4, queue="mail", error_type="ReadTimeout"),
    ]
    operation = finish(begin(alice, BulkAction.REDRIVE, "queue:mail error:timeout"))
    assert set(statuses(wanted)) == {Status.PENDING}
    assert set(statuses(others)) == {Status.DLQ}
    assert counts(operation) == (5, 5, 0)


def test_one_of_all_tenants_acts_on_all(alice: Tenant, mallory: Tenant) -> None:
    jobs = [*make_dead(alice, 2), *make_dead(mallory, 2)]
    assert operations.preview(None, BulkAction.DISCARD, "task:echo").count == 4
    assert counts(finish(begin(None, BulkAction.DISCARD, "task:echo"))) == (4, 4, 0)
    assert statuses(jobs) == ["gone"] * 4


@pytest.mark.parametrize("action", [BulkAction.REDRIVE, BulkAction.DISCARD])
def test_jobs_that_die_later_are_none_of_it(
    alice: Tenant, small_steps: None, action: BulkAction
) -> None:
    # It comes last, so that the operation has not gone past it when it dies.
    *dead, waiting = *make_dead(alice, 3), make_job(alice, queue="other")
    operation = begin(alice, action, "task:echo")
    operations.step(WORKER)
    died = {"status": Status.DLQ, "finished_at": now() + timedelta(seconds=1)}
    Job.objects.filter(pk=waiting.pk).update(**died)
    assert counts(finish(operation)) == (3, 3, 0)
    assert statuses([waiting]) == [Status.DLQ]
    assert Status.DLQ not in statuses(dead)


@pytest.mark.parametrize(
    ("action", "status", "moved"),
    [
        (BulkAction.REDRIVE, Status.DLQ, Status.PENDING),
        (BulkAction.CANCEL, Status.PENDING, Status.CANCELLED),
    ],
)
def test_jobs_that_came_later_are_none_of_it(
    alice: Tenant, small_steps: None, action: BulkAction, status: Status, moved: Status
) -> None:
    before = [make_job(alice, status) for _ in range(3)]
    operation = begin(alice, action, "task:echo")
    time.sleep(0.002)  # SQLite's clock counts milliseconds
    after = [make_job(alice, status, queue="later") for _ in range(3)]
    assert counts(finish(operation)) == (3, 3, 0)
    assert set(statuses(before)) == {moved}
    assert set(statuses(after)) == {status}


def test_ages_count_from_when_it_was_made(alice: Tenant) -> None:
    jobs = make_dead(alice, 2)
    old, young = (
        begin(alice, BulkAction.REDRIVE, "created:>1h"),
        begin(alice, BulkAction.REDRIVE, "created:<1h"),
    )
    make_older(old, young)
    assert counts(finish(old)) == (0, 0, 0)
    assert counts(finish(young)) == (0, 0, 0)
    make_older(fresh := begin(alice, BulkAction.REDRIVE, "created:<1h"), hours=-2)
    assert counts(finish(fresh)) == (0, 0, 0)
    assert counts(finish(begin(alice, BulkAction.REDRIVE, "created:<1h"))) == (2, 2, 0)
    assert set(statuses(jobs)) == {Status.PENDING}


def make_older(*made: Operation, hours: int = 2) -> None:
    """As if they had been made earlier."""
    moved = F("created_at") - timedelta(hours=hours)
    Operation.objects.filter(pk__in=[one.pk for one in made]).update(created_at=moved)


def test_a_job_that_dies_again_is_not_redriven_again(alice: Tenant, small_steps: None) -> None:
    jobs = make_dead(alice, 5)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    while operation.state == OperationState.RUNNING:
        operations.step(WORKER)
        operation.refresh_from_db()
        for job in Job.objects.filter(status=Status.PENDING):
            die_again(job)
    assert counts(operation) == (5, 5, 0)
    assert statuses(jobs) == [Status.DLQ] * 5


def die_again(job: Job) -> None:
    """As at the end of a failing run, which the operation cannot tell from a claim and a finish."""
    with connection.cursor() as cursor:
        key = job.pk if connection.vendor == "postgresql" else job.pk.hex
        cursor.execute("UPDATE jobs_job SET status = 'DLQ' WHERE id = %s", [key])


def test_what_changed_meanwhile_is_skipped_and_counted(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_dead(alice, 3)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    take_step = bulk.take_step

    def after_another(*args: object, **options: object) -> bool:
        services.retry(jobs[1], actor=ME)
        return take_step(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bulk, "take_step", after_another)
    assert counts(finish(operation)) == (3, 2, 1)


def test_it_begins_at_the_first_job_that_can_match(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        make_job(alice, Status.DONE)
    make_job(alice, Status.PENDING)
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
    operation = begin(alice, BulkAction.CANCEL, "queue:default")
    operations.step(WORKER)
    operation.refresh_from_db()
    assert counts(operation) == (1, 1, 0)


def counted(
    tenant: Tenant, action: BulkAction, text: str, seconds: float = 600
) -> tuple[int, bool]:
    found = operations.preview(tenant, action, text, seconds=seconds)
    return found.count, found.is_capped


def test_a_preview_counts_and_shows_the_oldest(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_dead(alice, 4)
    make_job(alice, Status.DONE)
    monkeypatch.setattr(operations, "SAMPLE", 2)
    exact = operations.preview(alice, BulkAction.DISCARD, "queue:default")
    assert (exact.count, exact.is_capped) == (4, False)
    assert exact.sample == [job.pk for job in jobs[:2]]
    monkeypatch.setattr(operations, "COUNTED_AT_MOST", 3)
    assert counted(alice, BulkAction.DISCARD, "queue:default") == (3, True)
    monkeypatch.setattr(operations, "COUNTED_STEPS", 2)
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
    assert counted(alice, BulkAction.DISCARD, "queue:default") == (2, True)
    assert counted(alice, BulkAction.DISCARD, "queue:none") == (0, True)
    assert counted(alice, BulkAction.CANCEL, "queue:default") == (0, False)
    assert counted(alice, BulkAction.DISCARD, "queue:default", seconds=-1) == (1, True)
    assert statuses(jobs) == [Status.DLQ] * 4


def test_a_cancelled_one_acts_on_nothing_more(alice: Tenant, small_steps: None) -> None:
    jobs = make_dead(alice, 5)
    operation = begin(alice, BulkAction.DISCARD, "task:echo")
    operations.step(WORKER)
    cancelled = operations.cancel(operation, actor=ME)
    assert (cancelled.state, cancelled.done) == (OperationState.CANCELLED, 2)
    assert operations.step(WORKER) > 1_000
    assert operations.cancel(operation, actor=ME).done == 2
    assert statuses(jobs).count("gone") == 2
    assert AuditEntry.objects.filter(action="cancel_operation").count() == 1


def test_the_audit_log_keeps_the_beginning_of_a_long_filter(alice: Tenant) -> None:
    ids = ",".join(str(uuid.uuid4()) for _ in range(50))
    operation = begin(alice, BulkAction.DISCARD, f"id:{ids}")
    kept = AuditEntry.objects.get(action="start_operation").details["filter"]
    assert len(operation.filter) > 600 == len(kept)
    assert operation.filter.startswith(kept[:-1])


def test_an_ended_one_cannot_be_cancelled(alice: Tenant) -> None:
    operation = finish(begin(alice, BulkAction.DISCARD, "task:echo"))
    with pytest.raises(StatusConflict):
        operations.cancel(operation, actor=ME)
    assert not AuditEntry.objects.filter(action="cancel_operation").exists()


@pytest.mark.django_db(transaction=True)
def test_runners_that_race_act_on_each_job_once(alice: Tenant, small_steps: None) -> None:
    jobs = make_dead(alice, 24)
    operation = begin(alice, BulkAction.DISCARD, "queue:default task:echo")

    def run(runner: str) -> None:
        try:
            while operations.step(runner) < math.inf:
                pass
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, ("first", "second", "third")))
    operation.refresh_from_db()
    assert counts(operation) == (24, 24, 0)
    assert set(statuses(jobs)) == {"gone"}
    assert AuditEntry.objects.filter(action="end_operation").count() == 1


def test_a_runner_that_dies_in_a_step_leaves_nothing_half_done(
    alice: Tenant, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_dead(alice, 5)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    operations.step(WORKER)
    with monkeypatch.context() as dying:
        dying.setattr(bulk, "_NOTE", "SELECT no_such_column")
        with pytest.raises(Exception, match="no_such_column"):
            operations.step(WORKER)
    operation.refresh_from_db()
    assert counts(operation) == (2, 2, 0)
    assert Job.objects.filter(status=Status.PENDING).count() == 2
    Operation.objects.update(held_until=now() - timedelta(seconds=1))
    assert counts(finish(operation)) == (5, 5, 0)


@pytest.mark.django_db(transaction=True)
def test_a_job_that_moves_during_a_search_is_not_missed(alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED)
    with ThreadPoolExecutor(1) as another, bulk.one_state():
        before = statuses([job])
        another.submit(services.retry, job, actor=ME).result()
        another.submit(connections.close_all).result()
        assert statuses([job]) == before == [Status.FAILED]
    assert statuses([job]) == [Status.PENDING]


@pytest.mark.django_db(transaction=True)
def test_it_is_carried_out_in_transactions_of_its_own(alice: Tenant, small_steps: None) -> None:
    make_dead(alice, 3)
    operation = finish(begin(alice, BulkAction.REDRIVE, "task:echo"))
    assert counts(operation) == (3, 3, 0)


def test_ready_jobs_are_found_behind_many_others(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_search, "LOOKED_AT", 2)
    for status in (Status.FAILED, *[Status.DONE] * 7, Status.CANCELLED):
        make_job(alice, status)
    ready = [make_job(alice, Status.PENDING) for _ in range(5)]
    found: list[uuid.UUID] = []
    search, rest, steps = Search(alice, parse("status:PENDING,RUNNING"), oldest_first=True), None, 0
    while steps == 0 or rest is not None:
        ids, rest = search.step(rest, size=3)
        found, steps = found + ids, steps + 1
    assert found == [job.pk for job in ready]
    assert steps <= 4
    newest = Search(alice, parse("status:PENDING queue:default"))
    assert newest.step(None, size=1).ids == [ready[-1].pk]


def test_a_pace_is_kept(alice: Tenant) -> None:
    """By the database's clock: never more jobs than a step and the rate since the beginning."""
    make_dead(alice, 7)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo", rate_per_second=10)
    seen = [(operation.created_at, 0)]
    while operation.state == OperationState.RUNNING:
        time.sleep(max(0, min(operations.step(WORKER), 0.05)))
        operation.refresh_from_db()
        seen.append((now(), operation.done))
    assert operation.done == 7
    assert operation.finished_at is not None
    assert (operation.finished_at - operation.created_at).total_seconds() >= 0.49
    for at, done in seen:
        assert done <= 5 + 10 * (at - operation.created_at).total_seconds() + 0.1


def test_what_cannot_be_begun_is_told(alice: Tenant, settings: object) -> None:
    for text, code in (("", "invalid_filter"), ("statsu:DLQ", "unknown_word")):
        with pytest.raises(InvalidInput) as raised:
            begin(alice, BulkAction.DISCARD, text)
        assert raised.value.field_code == code
    settings.JOBQUEUE = {"max_operations_per_tenant": 1}  # type: ignore[attr-defined]
    begin(alice, BulkAction.DISCARD, "task:echo")
    with pytest.raises(TooManyOperations):
        begin(alice, BulkAction.DISCARD, "task:echo")
    assert operations.start(alice, BulkAction.DISCARD, "task:echo", actor="key:jq_1").pk
    with pytest.raises(OperationNotFound):
        operations.get_operation(Operation.objects.none(), "x")


def test_the_audit_log_says_who_began_and_ended_what(alice: Tenant) -> None:
    make_dead(alice, 2, queue="mail")
    first = finish(begin(alice, BulkAction.DISCARD, "queue:mail", rate_per_second=1_000))
    second = begin(alice, BulkAction.CANCEL, "queue:mail")
    operations.cancel(second, actor="user:oscar")
    log = AuditEntry.objects.filter(tenant=alice).order_by("pk")
    entries = [(e.action, e.actor, e.target, e.details["filter"], e.details["count"]) for e in log]
    assert entries == [
        ("start_operation", ME, f"discard {first.pk}", "queue:mail", 2),
        ("end_operation", ME, f"discard {first.pk}", "queue:mail", 2),
        ("start_operation", ME, f"cancel {second.pk}", "queue:mail", 0),
        ("cancel_operation", "user:oscar", f"cancel {second.pk}", "queue:mail", 0),
    ]
