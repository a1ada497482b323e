"""The steps of bulk actions: who may take one, and what ends an operation that has none."""

import math
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from jobs import operations
from jobs.errors import StatusConflict
from jobs.models import AuditEntry, Job, Operation, Tenant
from jobs.statuses import BulkAction, OperationState, Status
from jobs.store import bulk
from jobs.store.clock import now
from tests.factories import WORKER
from tests.jobs.test_operations import ME, begin, counts, finish, make_dead, statuses

pytestmark = pytest.mark.django_db


def test_a_step_under_way_ends_without_effect_once_it_was_cancelled(alice: Tenant) -> None:
    (job,) = make_dead(alice, 1)
    operation = begin(alice, BulkAction.DISCARD, "task:echo")
    held = hold(WORKER)
    operations.cancel(operation, actor=ME)
    assert not take(held, job)
    assert statuses([job]) == [Status.DLQ]


def hold(runner: str) -> bulk.Held:
    held = bulk.hold_operation(runner, 3_600)
    assert held is not None
    return held


def take(held: bulk.Held, *jobs: Job) -> bool:
    action = BulkAction(Operation.objects.get(pk=held.operation_id).action)
    ids = [job.pk for job in jobs]
    return bulk.take_step(held, action, ids, position=ids[-1], seconds_per_job=0)


def test_a_step_is_held_by_one_runner_and_taken_over_when_that_is_gone(alice: Tenant) -> None:
    (job,) = make_dead(alice, 1)
    begin(alice, BulkAction.REDRIVE, "task:echo")
    first = hold("first")
    assert bulk.hold_operation("second", 3_600) is None
    assert 0 < operations.step("second") <= 3_601
    let_go()
    second = hold("second")
    assert not take(first, job), "the first runner came back too late"
    assert take(second, job)
    assert statuses([job]) == [Status.PENDING]


def let_go() -> None:
    """As if the runners had been away for too long."""
    Operation.objects.update(held_until=now() - timedelta(seconds=1))


def test_a_runner_acts_under_the_fence_that_it_got_however_late_it_looks(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_dead(alice, 1)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    seconds = overtake_the_first(monkeypatch)
    operations.step("first")
    operation.refresh_from_db()
    assert counts(operation) == (0, 0, 0)
    assert take(seconds[0], *jobs)


def overtake_the_first(monkeypatch: pytest.MonkeyPatch) -> list[bulk.Held]:
    """Who holds a step is away until another has taken it; answers the steps of those."""
    seconds: list[bulk.Held] = []

    def held_by_two(runner: str, lease_seconds: float) -> bulk.Held:
        first = hold_operation(runner, lease_seconds)
        let_go()
        second = hold_operation("second", lease_seconds)
        assert first is not None and second is not None
        seconds.append(second)
        return first

    hold_operation = bulk.hold_operation
    monkeypatch.setattr(bulk, "hold_operation", held_by_two)
    return seconds


def test_a_runner_whose_step_failed_takes_it_again_soon_and_nobody_else_does(
    alice: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOBQUEUE = {"lease_seconds": 3_600}
    monkeypatch.setattr(bulk, "AGAIN_SECONDS", 1_000)
    (job,) = make_dead(alice, 1)
    begin(alice, BulkAction.REDRIVE, "task:echo")
    with monkeypatch.context() as failing:
        failing.setattr(bulk, "take_step", fail)
        with pytest.raises(OperationalError):
            operations.step("first")
    assert bulk.hold_operation("second", 3_600) is None
    assert operations.step("second") > 1_000
    assert 0 < operations.step("first") <= 1_000
    assert bulk.hold_operation("first", 3_600) is None, "others have their turn before"
    monkeypatch.setattr(bulk, "AGAIN_SECONDS", 0)
    assert operations.step("first") == 0
    assert statuses([job]) == [Status.PENDING]


def fail(*step: object, **more: object) -> bool:
    raise OperationalError("the database is away")


def test_a_step_is_taken_once_under_a_fence(alice: Tenant) -> None:
    once, again = make_dead(alice, 2)
    begin(alice, BulkAction.REDRIVE, "task:echo")
    held = hold(WORKER)
    assert take(held, once)
    assert not take(held, again)
    assert statuses([once, again]) == [Status.PENDING, Status.DLQ]


def test_no_step_is_taken_before_the_pace_allows_it(alice: Tenant) -> None:
    (job,) = make_dead(alice, 1)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    held = hold(WORKER)
    assert bulk.take_step(
        held, BulkAction.REDRIVE, [job.pk], position=job.pk, seconds_per_job=3_600
    )
    assert bulk.hold_operation(WORKER, 3_600) is None
    Operation.objects.filter(pk=operation.pk).update(next_at=now() - timedelta(seconds=1))
    assert hold(WORKER).operation_id == operation.pk


def test_only_its_runner_takes_a_step_again_before_its_time_is_over(alice: Tenant) -> None:
    begin(alice, BulkAction.REDRIVE, "task:echo")
    first = hold("first")
    Operation.objects.update(held_until=now() + timedelta(seconds=3_000))
    assert bulk.hold_operation("second", 3_600) is None
    assert hold("first").fence > first.fence


def test_one_that_was_cancelled_does_not_fail_any_more(alice: Tenant) -> None:
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    held = hold(WORKER)
    operations.cancel(operation, actor=ME)
    assert not bulk.give_up(held, "nobody can read its filter")
    operation.refresh_from_db()
    assert (operation.state, operation.reason) == (OperationState.CANCELLED, "")


def test_one_whose_filter_nobody_can_read_any_more_fails_and_says_why(alice: Tenant) -> None:
    jobs = make_dead(alice, 1)
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    Operation.objects.update(filter="colour:red")  # as after a change of the grammar
    assert finish(operation).state == OperationState.FAILED
    assert "no word 'colour'" in operation.reason
    assert operation.finished_at is not None
    assert statuses(jobs) == [Status.DLQ]
    entry = AuditEntry.objects.get(action="fail_operation")
    assert (entry.actor, entry.details["reason"]) == (ME, operation.reason)
    assert operations.step(WORKER) == math.inf
    with pytest.raises(StatusConflict):
        operations.cancel(operation, actor=ME)


def test_a_runner_that_was_overtaken_fails_nothing(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = begin(alice, BulkAction.REDRIVE, "task:echo")
    Operation.objects.update(filter="colour:red")
    overtake_the_first(monkeypatch)
    operations.step("first")
    operation.refresh_from_db()
    assert (operation.state, operation.reason) == (OperationState.RUNNING, "")
    assert not AuditEntry.objects.filter(action="fail_operation").exists()
