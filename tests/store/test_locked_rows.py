"""Rows that somebody holds: who waits for them, for how long, and what others do meanwhile."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import Error, OperationalError, connection, connections, transaction
from django.db.models import Sum

from jobs import services, store
from jobs.models import Tenant, WaitMinute
from jobs.operations import start
from jobs.statuses import BulkAction, Status
from jobs.store import ClaimedJob, Lease, bulk, dialect, waits
from jobs.store.dialect import is_postgresql
from jobs.store.minutes import EVERYBODY
from jobs.submission import NewJob, Submitted
from tests.harness import wait_until
from tests.store.steps import (
    WORKER,
    claim_one,
    expire,
    finish,
    no_delay,
    outcome,
    row,
    status_of,
    submit,
    together,
)
from workers.heartbeat import Heartbeat
from workers.held import HeldJob, HeldJobs, Stop

pytestmark = pytest.mark.django_db(transaction=True)

OUT_SECONDS = 30
"""Who is frozen is out by then. A minute is too long: then any transaction that idles is ended."""


@pytest.fixture(autouse=True)
def on_postgresql() -> None:
    """SQLite has one writer at a time."""
    if not is_postgresql():
        pytest.skip("SQLite locks no rows")


@contextmanager
def frozen_after(act: Callable[[], object]) -> Iterator[None]:
    """Another process stops for good, in the transaction in which it has done this."""
    is_done, is_over = threading.Event(), threading.Event()

    def act_and_freeze() -> None:
        with suppress(Error), transaction.atomic():  # it may have been thrown out when it ends
            act()
            is_done.set()
            is_over.wait(120)
        connections.close_all()

    other = threading.Thread(target=act_and_freeze)
    other.start()
    try:
        assert is_done.wait(60)
        yield
    finally:
        is_over.set()
        other.join()


def lease_of(job: ClaimedJob) -> Lease:
    return Lease(job.id, job.fence)


class TestHeartbeat:
    def test_one_locked_job_keeps_no_other_lease_from_being_extended(
        self, alice: Tenant, mallory: Tenant
    ) -> None:
        locked, other = claim_one(alice), claim_one(mallory)
        before = {job.id: row(job.id)["lease_expires_at"] for job in (locked, other)}
        leases = [lease_of(job) for job in (locked, other)]
        with frozen_after(lambda: store.cancel([locked.id])):
            assert store.extend(leases, lease_seconds=300) == {locked.id: None, other.id: False}
            assert row(locked.id)["lease_expires_at"] == before[locked.id]
            assert row(other.id)["lease_expires_at"] > before[other.id]
        assert store.extend(leases, lease_seconds=300) == {locked.id: True, other.id: False}
        assert row(locked.id)["lease_expires_at"] > before[locked.id]

    def test_lost_job_is_lost_even_while_somebody_holds_its_row(self, alice: Tenant) -> None:
        job = claim_one(alice)
        store.release([lease_of(job)])
        with frozen_after(lambda: store.cancel([job.id])):
            assert store.extend([lease_of(job)], lease_seconds=300) == {}

    def test_worker_goes_on_with_a_locked_job_without_taking_its_lease_for_longer(
        self, alice: Tenant
    ) -> None:
        job = claim_one(alice)
        held, jobs = HeldJob(job, task=None, leased_at=1.0), HeldJobs(1)  # type: ignore[arg-type]
        jobs.add([held])
        beat = Heartbeat(WORKER, jobs, register=lambda: None, obey=lambda asked_to: None)
        with frozen_after(lambda: store.cancel([job.id])):
            beat._extend([held])
            assert (held.stop_reason, held.leased_at) == (None, 1.0)
        beat._extend([held])
        assert held.stop_reason is Stop.CANCELLED
        assert held.leased_at > 1.0


def take_step(job: ClaimedJob) -> object:
    held = bulk.hold_operation(WORKER, 60)
    assert held
    return bulk.take_step(held, BulkAction.CANCEL, [job.id], position=None, seconds_per_job=0)


def reap(job: ClaimedJob) -> object:
    expire([job.id])
    return store.reap("reaper", no_delay)


WRITES: dict[str, Callable[[ClaimedJob], object]] = {
    "cancel": lambda job: store.cancel([job.id]),
    "step": take_step,
    "failure": lambda job: finish(job, Status.FAILED),
    "release": lambda job: store.release([lease_of(job)]),
    "reap": reap,
    "dead worker": lambda job: store.lose_worker(WORKER, {lease_of(job)}, no_delay),
}


@pytest.mark.parametrize("write", WRITES)
def test_process_that_is_frozen_while_it_writes_a_job_is_thrown_out(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    monkeypatch.setattr(dialect, "FROZEN_SECONDS", 1)
    job = claim_one(alice)
    start(alice, BulkAction.CANCEL, "queue:default", actor="command:test")
    with frozen_after(lambda: WRITES[write](job)):
        wait_until(
            lambda: store.extend([lease_of(job)], lease_seconds=30) == {job.id: False}, OUT_SECONDS
        )
    assert status_of(job.id) == Status.RUNNING


def test_process_that_is_frozen_while_it_discards_is_thrown_out(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "FROZEN_SECONDS", 1)
    job = claim_one(alice)
    finish(job, Status.DLQ)
    with frozen_after(lambda: store.discard([job.id])):
        wait_until(lambda: store.redrive([job.id]) == [job.id], OUT_SECONDS)


def test_counts_of_waits_that_another_process_holds_are_written_later(
    alice: Tenant, mallory: Tenant
) -> None:
    theirs, ours = store.Waits(), store.Waits()
    theirs.note([waited(alice)])
    ours.note([waited(mallory)])
    with frozen_after(theirs.write):
        ours.write()
        assert not WaitMinute.objects.exists()
        ours.note([waited(mallory)])
    ours.write()
    counted = dict(WaitMinute.objects.values_list("tenant_id").annotate(Sum("attempts")))
    assert counted == {alice.pk: 1, mallory.pk: 2, EVERYBODY: 3}


def test_counts_of_waits_that_never_can_be_written_do_not_pile_up(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "MAX_COUNTS", 1)
    theirs, ours = store.Waits(), store.Waits()
    for counts in (theirs, ours):
        counts.note([waited(alice)])
    with frozen_after(theirs.write):
        ours.write()
    ours.write()
    assert WaitMinute.objects.get(tenant_id=EVERYBODY).attempts == 1


def waited(tenant: Tenant) -> store.Outcome:
    return store.Outcome(
        job_id=uuid.uuid4(), fence=1, lane_id=0, tenant_id=tenant.pk, status=Status.DONE
    )


LIMITS: list[dict[str, Any]] = [{"submissions_per_minute": 1_000}, {"max_pending": 1_000}]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("second", [{"idempotency_key": "k2"}, {"queue": "new"}])
def test_submissions_of_a_limited_tenant_never_wait_for_each_other_crosswise(
    make_tenant: Callable[..., Tenant], limit: dict[str, Any], second: dict[str, Any]
) -> None:
    tenant = make_tenant("limited", **limit)
    submit(tenant)
    has_begun = threading.Event()

    def submit_two() -> list[Submitted]:
        with transaction.atomic():
            first = services.submit(tenant, NewJob(task="echo", idempotency_key="k1"))
            has_begun.set()
            wait_until(somebody_waits, 60)
            return [first, services.submit(tenant, NewJob(task="echo", **second))]

    def submit_one() -> list[Submitted]:
        assert has_begun.wait(60)
        return [services.submit(tenant, NewJob(task="echo", **second))]

    made = [one for some in together([submit_two, submit_one]) for one in some]
    repeats = 1 if "idempotency_key" in second else 0
    assert [one.created for one in made].count(False) == repeats
    window = store.submission_window(tenant.pk)
    assert sum(taken for _, taken, _ in window) == (
        3 - repeats if "submissions_per_minute" in limit else 0
    )


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() != (0,)


def test_places_are_not_passed_on_behind_a_row_that_somebody_holds(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=1)
    submit(alice, 2)
    (seen,) = store.ready_lanes()
    share = seen.share(1)
    (job,) = store.claim(WORKER, [share], lease_seconds=30)
    done = [outcome(job, Status.DONE)]
    with frozen_after(lambda: store.cancel([job.id])):
        started = time.monotonic()
        with pytest.raises(OperationalError) as held_up:
            store.relay(WORKER, done, [share], lease_seconds=30)
        assert store.was_held_up(held_up.value)
        assert time.monotonic() - started < 5, "all claims would wait behind it at the gate"
