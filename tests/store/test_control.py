"""What people do to jobs: cancel, retry, redrive, discard."""

import uuid

import pytest
from django.db.models import Sum

from jobs import store
from jobs.models import Attempt, Job, Lane, LaneMinute, Tenant
from jobs.statuses import WAITING, Status
from tests.store.steps import (
    claim,
    claim_one,
    database_time,
    expire,
    finish,
    job_in,
    lane_of,
    make_due,
    no_delay,
    row,
    status_of,
    submit,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", sorted(WAITING))
def test_waiting_job_is_cancelled_at_once(alice: Tenant, status: Status) -> None:
    job_id = job_in(status, alice)
    assert store.cancel([job_id]) == [job_id]
    kept = row(job_id)
    assert kept["status"] == Status.CANCELLED
    assert kept["created_at"] <= kept["finished_at"] <= database_time()


def test_every_cancelled_job_is_counted_once(alice: Tenant, mallory: Tenant) -> None:
    for tenant in (alice, mallory):
        waiting = [job_in(status, tenant, queue=status.value) for status in sorted(WAITING)]
        running = claim_one(tenant, queue="running")
        for _ in range(2):
            store.cancel([*waiting, running.id, job_in(Status.DONE, tenant, queue="done")])
        finish(running, Status.CANCELLED)
        counts = {lane.queue: cancelled_in(lane) for lane in tenant.lanes.all()}
        assert counts == dict.fromkeys([*WAITING, "running"], 1) | {"done": 0}


def test_jobs_of_a_lane_that_are_cancelled_at_once_are_all_counted(alice: Tenant) -> None:
    store.cancel(submit(alice, 3))
    assert cancelled_in(lane_of(alice)) == 3


def cancelled_in(lane: Lane) -> int:
    """How many cancelled jobs of the lane were counted, which is how many there are."""
    counted = LaneMinute.objects.filter(lane_id=lane.pk).aggregate(n=Sum("cancelled"))["n"]
    assert counted == Job.objects.filter(lane=lane, status=Status.CANCELLED).count()
    return int(counted)


def test_running_job_is_asked_to_stop(alice: Tenant) -> None:
    job = claim_one(alice)
    before = row(job.id)
    assert store.cancel([job.id]) == [job.id]
    assert row(job.id) == before | {"cancel_requested": True}


def test_wish_to_cancel_outlives_the_worker(alice: Tenant) -> None:
    job = claim_one(alice)
    store.cancel([job.id])
    expire([job.id])
    store.reap("reaper", no_delay)
    store.promote()
    assert claim(lane_of(alice)) == []


def test_failed_job_is_ready_now(alice: Tenant) -> None:
    job_id = job_in(Status.FAILED, alice)
    before = row(job_id)
    assert store.retry([job_id]) == [job_id]
    after = row(job_id)
    assert after["status"] == Status.PENDING
    assert after["run_at"] <= database_time() < before["run_at"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"status", "run_at"}


def test_retry_does_not_give_more_attempts(alice: Tenant) -> None:
    (job_id,) = submit(alice, max_retries=1)
    for status in (Status.FAILED, Status.DLQ):
        (claimed,) = claim(lane_of(alice))
        finish(claimed, status)
        store.retry([job_id])
    assert (status_of(job_id), row(job_id)["attempt"]) == (Status.DLQ, 2)


def test_dead_letter_goes_back_as_if_new_but_with_its_history(alice: Tenant) -> None:
    (job_id,) = submit(alice, payload=b"[1]", tags=("red",))
    new = row(job_id)
    (job,) = claim(lane_of(alice))
    finish(job, Status.DLQ, error_message="broken")
    before = database_time()
    assert store.redrive([job_id]) == [job_id]
    kept = row(job_id)
    assert before <= kept.pop("run_at") <= database_time()
    assert kept == {k: v for k, v in new.items() if k != "run_at"} | {"fence": job.fence}
    assert Attempt.objects.get().job_id == job_id


def test_redriven_job_has_all_its_attempts_again(alice: Tenant) -> None:
    (job_id,) = submit(alice, max_retries=0)
    for _ in range(3):
        (job,) = claim(lane_of(alice))
        assert job.attempt == 1
        finish(job, Status.DLQ)
        store.redrive([job_id])
    assert [one.number for one in Attempt.objects.all()] == [1, 1, 1]


def test_redriven_poison_has_all_its_losses_again(alice: Tenant) -> None:
    (job_id,) = submit(alice, max_retries=50)
    for _ in range(2):
        for _ in range(3):
            store.promote()
            claim(lane_of(alice))
            expire([job_id])
            store.reap("reaper", no_delay)
        assert status_of(job_id) == Status.DLQ
        store.redrive([job_id])
    assert row(job_id)["lost_count"] == 0


def test_redrive_after_a_wish_to_cancel_forgets_the_wish(alice: Tenant) -> None:
    job = claim_one(alice)
    store.cancel([job.id])
    finish(job, Status.DLQ)
    store.redrive([job.id])
    (again,) = claim(lane_of(alice))
    finish(again, Status.FAILED)
    assert status_of(job.id) == Status.FAILED


def test_payload_can_be_replaced_on_the_way_back(alice: Tenant) -> None:
    job_id = job_in(Status.DLQ, alice, payload=b"[1]")
    store.redrive_edited(job_id, b"[2]")
    assert row(job_id)["payload"] == b"[2]"


def test_discarded_letter_is_gone_and_its_key_is_free(alice: Tenant) -> None:
    job_id = job_in(Status.DLQ, alice, idempotency_key="k")
    assert store.discard([job_id]) == [job_id]
    (again,) = submit(alice, idempotency_key="k")
    assert again != job_id


def test_discard_leaves_the_attempts_of_other_jobs(alice: Tenant) -> None:
    gone, stays = job_in(Status.DLQ, alice), job_in(Status.DLQ, alice)
    store.discard([gone])
    assert Attempt.objects.get().job_id == stays


@pytest.mark.parametrize("act", [store.cancel, store.retry, store.redrive, store.discard])
def test_ids_of_no_job_are_not_in_the_answer(alice: Tenant, act) -> None:
    assert act([]) == []
    assert act([uuid.uuid4()]) == []


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (store.cancel, Status.PENDING),
        (store.retry, Status.FAILED),
        (store.redrive, Status.DLQ),
        (store.discard, Status.DLQ),
    ],
)
def test_only_the_jobs_it_applied_to_are_in_the_answer(alice: Tenant, act, status: Status) -> None:
    done = job_in(Status.DONE, alice)
    wanted = {job_in(status, alice, queue=f"queue-{n}") for n in range(3)}
    before = row(done)
    assert set(act([done, *wanted, uuid.uuid4()])) == wanted
    assert row(done) == before


def test_cancelled_job_does_not_come_back(alice: Tenant) -> None:
    job_id = job_in(Status.SCHEDULED, alice)
    store.cancel([job_id])
    make_due([job_id])
    assert (store.promote(), claim(lane_of(alice))) == (0, [])
