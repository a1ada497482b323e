"""How long what has ended is kept, by the settings and by each tenant's own days."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db.models import F
from django.test import override_settings

from jobs import operations, retention, services, store
from jobs.models import (
    Job,
    LaneMinute,
    LanePeriod,
    Operation,
    SubmissionSecond,
    Tenant,
    WaitMinute,
    Worker,
)
from jobs.statuses import TERMINAL, BulkAction, OperationState, Status
from jobs.store.minutes import EVERYBODY, Length, total
from tests.store.steps import age, database_time, job_in, lane_of

pytestmark = pytest.mark.django_db


def pass_once() -> int:
    """One whole pass; answers how many jobs it deleted."""
    return sum(retention.one_pass())


@pytest.mark.parametrize(
    ("days", "left"),
    [(6, {"DONE", "CANCELLED", "DLQ"}), (8, {"DLQ"}), (4_000, {"DLQ"})],
)
def test_done_and_cancelled_jobs_are_kept_for_a_week_and_dead_letters_for_ever(
    alice: Tenant, days: int, left: set[str]
) -> None:
    age([job_in(status, alice) for status in sorted(TERMINAL)], days=days)
    pass_once()
    assert set(Job.objects.values_list("status", flat=True)) == left


@override_settings(JOBQUEUE={"keep_finished_days": None, "keep_dead_days": 0.5})
def test_the_settings_say_how_long(alice: Tenant) -> None:
    age([job_in(status, alice) for status in sorted(TERMINAL)], days=1)
    assert pass_once() == 1
    assert set(Job.objects.values_list("status", flat=True)) == {"DONE", "CANCELLED"}


def test_a_tenant_may_have_days_of_its_own(alice: Tenant, mallory: Tenant) -> None:
    services.change_limits(alice, actor="command:test", keep_finished_days=30, keep_dead_days=2)
    for tenant in (alice, mallory):
        age([job_in(Status.DONE, tenant), job_in(Status.DLQ, tenant)], days=8)
    assert pass_once() == 2
    left = set(Job.objects.values_list("tenant__slug", "status"))
    assert left == {("alice", "DONE"), ("mallory", "DLQ")}


@override_settings(JOBQUEUE={"purge_batch": 3})
def test_jobs_go_in_small_batches(alice: Tenant) -> None:
    age([job_in(Status.DONE, alice) for _ in range(7)], days=8)
    assert list(retention.purge(alice, retention.ages_of(alice))) == [3, 3, 1]


def test_windows_that_are_over_and_workers_that_are_gone_are_forgotten(alice: Tenant) -> None:
    now = database_time()
    for seconds in (120, 0):
        second = int(now.timestamp()) - seconds
        SubmissionSecond.objects.create(tenant_id=alice.pk, second=second, submitted=1)
        Worker.objects.create(
            id=f"w{seconds}", host="h", pid=1, slots=1, started_at=now, seen_at=now
        )
    Worker.objects.filter(pk="w120").update(seen_at=F("seen_at") - timedelta(hours=2))
    pass_once()
    assert SubmissionSecond.objects.get().second == int(now.timestamp())
    assert Worker.objects.get().pk == "w0"


def test_old_counts_are_added_up_at_each_turn(alice: Tenant) -> None:
    lane = lane_of(alice)
    minute = (database_time() - timedelta(days=4)).replace(minute=7, second=0, microsecond=0)

    def count_and_pass(shard: int) -> int:
        LaneMinute.objects.create(
            lane_id=lane.pk, tenant_id=alice.pk, minute=minute, shard=shard, done=1
        )
        pass_once()
        return LaneMinute.objects.count()

    assert [count_and_pass(shard) for shard in (0, 1)] == [0, 1]
    store.keep_turn("sum up", -1)
    assert count_and_pass(2) == 0
    assert total(("done",), [alice.pk]) == (3,)


def test_old_sums_of_everybody_are_deleted_as_well(alice: Tenant) -> None:
    lane = lane_of(alice)
    minute = (database_time() - timedelta(days=20)).replace(minute=7, second=0, microsecond=0)
    LaneMinute.objects.create(lane_id=lane.pk, tenant_id=alice.pk, minute=minute, done=1)
    for _ in range(2):
        pass_once()
        store.keep_turn("sum up", -1)
    kept = LanePeriod.objects.filter(tenant_id=EVERYBODY).values_list("length", flat=True)
    assert sorted(kept) == [Length.EVER, Length.DAY]


def test_old_waits_are_added_up_with_them(alice: Tenant) -> None:
    at = (database_time() - timedelta(days=4)).replace(minute=7, second=0, microsecond=0)
    for tenant_id in (EVERYBODY, alice.pk):
        for minute in (at, at + timedelta(minutes=1)):
            WaitMinute.objects.create(tenant_id=tenant_id, minute=minute, bucket=5, attempts=3)
    pass_once()
    assert set(WaitMinute.objects.values_list("tenant_id", "attempts")) == {
        (EVERYBODY, 6),
        (alice.pk, 6),
    }


def test_a_rest_follows_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    times = iter([0.0, 0.5, 1.0, 3.0, 9.0])
    clock = SimpleNamespace(monotonic=lambda: next(times), sleep=rests.append)
    monkeypatch.setattr(retention, "time", clock)
    assert list(retention.resting(iter([5, 6]))) == [5, 6]
    assert rests == [retention.REST * 0.5, retention.REST * 2.0]


def operation_of(tenant: Tenant, *, days_ago: float, state: OperationState) -> Operation:
    """One that began so long ago, and ended at once unless it still runs."""
    made = operations.start(tenant, BulkAction.REDRIVE, "queue:mail", actor="command:test")
    at = database_time() - timedelta(days=days_ago)
    ended = None if state is OperationState.RUNNING else at
    old = store.horizon(days_ago * retention.DAY)
    same = Operation.objects.filter(pk=made.pk)
    same.update(id=old, state=state, created_at=at, finished_at=ended)
    return Operation.objects.get(pk=old)


@override_settings(JOBQUEUE={"purge_batch": 1})
def test_operations_go_a_while_after_their_end(alice: Tenant) -> None:
    gone = [OperationState.DONE, OperationState.CANCELLED, OperationState.FAILED]
    for day, state in enumerate(gone):
        operation_of(alice, days_ago=91 + day, state=state)
    running = operation_of(alice, days_ago=100, state=OperationState.RUNNING)
    recent = operation_of(alice, days_ago=89, state=OperationState.DONE)
    pass_once()
    assert set(Operation.objects.all()) == {running, recent}


@override_settings(JOBQUEUE={"keep_operations_days": None})
def test_operations_can_be_kept_for_ever(alice: Tenant) -> None:
    kept = operation_of(alice, days_ago=4_000, state=OperationState.DONE)
    pass_once()
    assert Operation.objects.get() == kept
