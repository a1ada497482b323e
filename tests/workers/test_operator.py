"""The operator: it carries out operations by itself, and another goes on when it is killed."""

import math

import pytest

from jobs import operations
from jobs.conf import conf
from jobs.models import Job, Operation, Tenant
from jobs.statuses import BulkAction, OperationState, Status
from tests.factories import make_job
from tests.harness import WorkerProcess, wait_until
from workers.operator import Operator

JOBS = 30
SLOW = 0.5
WHEN_WOKEN = {"lease_seconds": 3, "heartbeat_seconds": 1, "operation_interval_seconds": 3_600}


def begin(tenant: Tenant, rate: float | None = None) -> Operation:
    return operations.start(
        tenant, BulkAction.CANCEL, "queue:later", actor="user:olga", rate_per_second=rate
    )


@pytest.mark.django_db
def test_it_takes_a_step_at_a_time_and_rests_when_there_is_none(alice: Tenant) -> None:
    make_job(alice, Status.SCHEDULED, queue="later")
    operation = begin(alice)
    operator = Operator("w")
    assert operator.tick() == 0
    operation.refresh_from_db()
    assert (operation.state, operation.runner) == (OperationState.DONE, "w")
    assert operator.tick() >= conf().operation_interval_seconds


@pytest.mark.django_db
def test_it_looks_seldom_however_often_it_is_woken(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def step(runner: str) -> float:
        looks.append(runner)
        return math.inf

    monkeypatch.setattr(operations, "step", step)
    monkeypatch.setattr("workers.operator.GAP_SECONDS", 3_600)
    operator = Operator("w")
    waits = [operator.tick() for _ in range(5)]
    assert looks == ["w"]
    assert min(waits) > 0


@pytest.mark.django_db
def test_it_waits_for_the_pace(alice: Tenant) -> None:
    for _ in range(2):
        make_job(alice, Status.SCHEDULED, queue="later")
    operator = Operator("w")
    begin(alice, rate=0.001)
    assert operator.tick() == 0
    assert operator.tick() > 0
    assert Job.objects.filter(status=Status.CANCELLED).count() == 1


@pytest.mark.django_db(transaction=True)
def test_another_worker_goes_on_when_one_is_killed(alice: Tenant) -> None:
    for _ in range(JOBS):
        make_job(alice, Status.SCHEDULED, queue="later")
    with WorkerProcess(**WHEN_WOKEN) as first:
        first.wait_until_ready()
        operation = begin(alice, rate=SLOW)

        def reload() -> Operation:
            operation.refresh_from_db()
            return operation

        wait_until(lambda: reload().done > 0, 60, "the first worker began")
        first.kill()
    assert reload().done < JOBS
    Operation.objects.update(rate_per_second=None)
    with WorkerProcess(**WHEN_WOKEN) as second:
        wait_until(lambda: reload().state == OperationState.DONE, 60, "the second ended it")
        assert operation.runner in second.worker_ids()
    assert (operation.matched, operation.done, operation.skipped) == (JOBS, JOBS, 0)
    assert Job.objects.filter(status=Status.CANCELLED).count() == JOBS
