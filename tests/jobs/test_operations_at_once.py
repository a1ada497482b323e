"""Operations that begin, or end, while another transaction is at them."""

import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest
from django.db import connections, transaction
from django.test import override_settings

from jobs import store
from jobs.errors import TooManyOperations
from jobs.models import Job, Operation, Tenant
from jobs.operations import cancel, start, step
from jobs.statuses import BulkAction, OperationState, Status
from jobs.store import bulk
from tests.factories import WORKER, make_job

LOOKS_SECONDS = 2
"""Without the lock the other would have done it in this time."""


@pytest.mark.django_db(transaction=True)
@override_settings(JOBQUEUE={"max_operations_per_tenant": 1})
def test_no_more_begin_than_a_tenant_may_have(alice: Tenant) -> None:
    def begin() -> None:
        try:
            start(alice, BulkAction.CANCEL, "queue:mail", actor="command:test")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            start(alice, BulkAction.CANCEL, "queue:hooks", actor="command:test")
            other: Future[None] = pool.submit(begin)
            wait([other], timeout=LOOKS_SECONDS)
        with pytest.raises(TooManyOperations):
            other.result(60)
    assert Operation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_no_job_is_acted_on_once_a_cancel_was_answered(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make_job(alice, Status.DLQ) for _ in range(2)]
    operation = start(alice, BulkAction.REDRIVE, "task:echo", actor="command:test")
    cancelling: list[Future[Operation]] = []

    def cancel_it() -> Operation:
        try:
            return cancel(Operation.objects.get(), actor="command:test")
        finally:
            connections.close_all()

    def redrive(job_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
        cancelling.append(pool.submit(cancel_it))
        wait(cancelling, timeout=LOOKS_SECONDS)
        assert not cancelling[0].done(), "it waits for the step that is under way"
        return store.redrive(job_ids)

    monkeypatch.setattr(bulk, "_ACTS", {BulkAction.REDRIVE: redrive})
    monkeypatch.setattr("jobs.operations.BATCH", 1)
    with ThreadPoolExecutor(1) as pool:
        step(WORKER)
        assert cancelling[0].result(60).state == OperationState.CANCELLED
        step(WORKER)
    operation.refresh_from_db()
    assert (operation.done, len(cancelling)) == (1, 1)
    assert Job.objects.get(status=Status.DLQ).pk == jobs[1].pk
