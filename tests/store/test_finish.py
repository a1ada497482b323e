"""Outcomes are recorded under their fences, once, and counted in the same transaction."""

import uuid

import pytest
from django.db.models import Sum
from django.test import override_settings

from jobs import store
from jobs.encryption import is_sealed
from jobs.models import Attempt, Job, LaneMinute, Tenant
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store.finish import ENDINGS
from tests.store.steps import (
    WORKER,
    claim,
    claim_one,
    database_time,
    finish,
    lane_of,
    make_due,
    outcome,
    row,
    status_of,
    submit,
)

pytestmark = pytest.mark.django_db


def totals() -> dict[str, float]:
    figures = ("done", "failed", "dead", "cancelled", "started", "wait_seconds", "run_seconds")
    return LaneMinute.objects.aggregate(**{name: Sum(name, default=0) for name in figures})


def test_done_keeps_the_result_and_ends_the_lease(alice: Tenant) -> None:
    job = claim_one(alice)
    before = database_time()
    assert finish(job, Status.DONE, result=b'{"n": 1.0}') == {job.id}
    kept = row(job.id)
    assert (kept["status"], kept["result"]) == (Status.DONE, b'{"n": 1.0}')
    assert kept["lease_expires_at"] is None
    assert before <= kept["finished_at"] <= database_time()
    assert Attempt.objects.count() == 0


def test_failed_waits_for_its_backoff(alice: Tenant) -> None:
    job = claim_one(alice)
    before = database_time()
    finish(job, Status.FAILED, error_type="KeyError", error_message="'x'", retry_in=90)
    kept = row(job.id)
    assert (kept["status"], kept["error_type"], kept["error_message"]) == (
        "FAILED", "KeyError", "'x'",
    )  # fmt: skip
    assert 90 <= (kept["run_at"] - before).total_seconds() < 100
    assert (kept["finished_at"], kept["lease_expires_at"]) == (None, None)


@pytest.mark.parametrize("status", sorted(ENDINGS))
def test_end_that_the_worker_tells_is_no_loss(alice: Tenant, status: Status) -> None:
    job = claim_one(alice)
    finish(job, status)
    assert row(job.id)["lost_count"] == 0


def test_dead_letter_keeps_why_it_died(alice: Tenant) -> None:
    job = claim_one(alice)
    finish(job, Status.DLQ, reason=Reason.NOT_RETRYABLE, error_type="Discard")
    kept = row(job.id)
    assert (kept["status"], kept["reason"], kept["error_type"]) == (
        "DLQ", "not_retryable", "Discard",
    )  # fmt: skip
    assert kept["finished_at"] is not None


def test_cancelled_attempt_ends_the_job(alice: Tenant) -> None:
    job = claim_one(alice)
    finish(job, Status.CANCELLED)
    assert row(job.id)["status"] == Status.CANCELLED
    assert row(job.id)["finished_at"] is not None


def test_success_after_a_failure_clears_the_error(alice: Tenant) -> None:
    job = claim_one(alice)
    finish(job, Status.FAILED, error_message="first time")
    make_due([job.id])
    store.promote()
    (again,) = claim(lane_of(alice))
    finish(again, Status.DONE)
    kept = row(job.id)
    assert (kept["error_type"], kept["error_message"], kept["attempt"]) == ("", "", 2)


@pytest.mark.parametrize("status", sorted(ENDINGS))
def test_repeating_a_recorded_outcome_changes_nothing(alice: Tenant, status: Status) -> None:
    job = claim_one(alice)
    finish(job, status)
    before = (row(job.id), totals(), Attempt.objects.count())
    assert finish(job, status) == set()
    assert (row(job.id), totals(), Attempt.objects.count()) == before


@pytest.mark.parametrize("status", sorted(ENDINGS))
def test_older_fence_changes_nothing(alice: Tenant, status: Status) -> None:
    stale = claim_one(alice)
    store.release([store.Lease(stale.id, stale.fence)])
    claim(lane_of(alice))
    before = (row(stale.id), totals(), Attempt.objects.count())
    assert finish(stale, status) == set()
    assert (row(stale.id), totals(), Attempt.objects.count()) == before


def test_job_that_does_not_exist_is_not_recorded(alice: Tenant) -> None:
    ghost = outcome(claim_one(alice), Status.DONE)
    unknown = store.Outcome(
        job_id=uuid.uuid4(), fence=1, lane_id=ghost.lane_id, tenant_id=alice.pk, status=Status.DONE
    )
    assert store.finish(WORKER, [unknown]) == set()


def test_no_outcomes_are_recorded_as_none(alice: Tenant) -> None:
    assert store.finish(WORKER, []) == set()


def test_batch_holds_every_ending_at_once(alice: Tenant) -> None:
    submit(alice, 5)
    jobs = claim(lane_of(alice))
    endings = [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED, Status.FAILED]
    outcomes = [outcome(job, status) for job, status in zip(jobs, endings, strict=True)]
    object.__setattr__(outcomes[-1], "retry_in", 0.5)
    assert store.finish(WORKER, outcomes) == {job.id for job in jobs}
    assert [status_of(job.id) for job in jobs] == endings


def test_stale_outcome_in_a_batch_does_not_count_for_the_current_one(alice: Tenant) -> None:
    stale = claim_one(alice)
    store.release([store.Lease(stale.id, stale.fence)])
    (current,) = claim(lane_of(alice))
    outcomes = [outcome(stale, Status.FAILED), outcome(current, Status.DONE)]
    store.finish(WORKER, outcomes)
    assert status_of(stale.id) == Status.DONE
    assert (totals()["started"], totals()["done"], totals()["failed"]) == (1, 1, 0)
    assert Attempt.objects.count() == 0


def test_outcome_twice_in_a_batch_is_recorded_once(alice: Tenant) -> None:
    job = claim_one(alice)
    assert store.finish(WORKER, [outcome(job, Status.FAILED)] * 2) == {job.id}
    assert (totals()["failed"], Attempt.objects.count()) == (1, 1)


def test_first_of_two_contrary_outcomes_in_a_batch_holds(alice: Tenant) -> None:
    job = claim_one(alice)
    store.finish(WORKER, [outcome(job, Status.DONE), outcome(job, Status.FAILED)])
    assert (status_of(job.id), totals()["done"], totals()["failed"]) == (Status.DONE, 1, 0)
    assert Attempt.objects.count() == 0


def test_failed_attempt_leaves_a_row(alice: Tenant) -> None:
    job = claim_one(alice)
    finish(
        job, Status.FAILED, attempt_outcome=AttemptOutcome.TIMED_OUT,
        error_type="E", error_message="m", traceback="t",
    )  # fmt: skip
    attempt = Attempt.objects.get()
    kept = row(job.id)
    assert (attempt.job_id, attempt.number, attempt.fence) == (job.id, 1, job.fence)
    assert (attempt.outcome, attempt.error_type, attempt.message, attempt.traceback) == (
        "timed_out", "E", "m", "t",
    )  # fmt: skip
    assert (attempt.worker, attempt.started_at) == (WORKER, kept["started_at"])
    assert attempt.finished_at >= attempt.started_at


def test_failure_of_a_job_that_is_to_be_cancelled_is_its_last(alice: Tenant) -> None:
    job = claim_one(alice)
    store.cancel([job.id])
    finish(job, Status.FAILED)
    assert row(job.id)["status"] == Status.CANCELLED
    assert row(job.id)["finished_at"] is not None
    assert (totals()["cancelled"], totals()["failed"]) == (1, 0)


def test_success_of_a_job_that_is_to_be_cancelled_is_a_success(alice: Tenant) -> None:
    job = claim_one(alice)
    store.cancel([job.id])
    finish(job, Status.DONE)
    assert status_of(job.id) == Status.DONE


@pytest.mark.parametrize("text", ["nul \0", "half a pair \ud800", "long " * 10_000])
@pytest.mark.parametrize("field", ["error_type", "error_message", "traceback"])
def test_any_text_of_an_error_can_be_recorded(alice: Tenant, field: str, text: str) -> None:
    job, other = claim_one(alice), claim_one(alice)
    outcomes = [outcome(job, Status.FAILED, **{field: text}), outcome(other, Status.DONE)]
    assert store.finish(WORKER, outcomes) == {job.id, other.id}
    assert row(job.id)["error_type"][:4] in {"nul ", "half", "long", "Valu"}
    assert Attempt.objects.get().outcome == AttemptOutcome.FAILED


@pytest.mark.parametrize("text", ["\ufdd0\ufdd0boom", "a\ufdd0" + "x" * 9], ids=["twice", "cut"])
def test_no_text_of_a_worker_is_taken_for_an_encrypted_one(alice: Tenant, text: str) -> None:
    job = claim_one(alice)
    with override_settings(JOBQUEUE={"max_traceback": 10}):
        told = outcome(job, Status.FAILED, error_message=text, traceback=text)
    assert not is_sealed(told.error_message)
    assert not is_sealed(told.traceback)
    assert store.finish(WORKER, [told]) == {job.id}
    assert "broken" not in str(Attempt.objects.get().traceback)


@pytest.mark.parametrize("seconds", [-5, float("inf"), float("nan"), 1e30])
def test_impossible_wait_does_not_keep_the_batch_from_being_recorded(
    alice: Tenant, seconds: float
) -> None:
    job, other = claim_one(alice), claim_one(alice)
    outcomes = [outcome(job, Status.FAILED, retry_in=seconds), outcome(other, Status.DONE)]
    assert store.finish(WORKER, outcomes) == {job.id, other.id}
    assert row(job.id)["run_at"] >= row(job.id)["created_at"]


@pytest.mark.parametrize("status", sorted(set(Status) - ENDINGS))
def test_attempt_cannot_end_in_a_status_that_is_no_end(alice: Tenant, status: Status) -> None:
    job = claim_one(alice)
    with pytest.raises(ValueError, match=status):
        store.Outcome(
            job_id=job.id, fence=1, lane_id=job.lane_id, tenant_id=alice.pk, status=status
        )


def test_counts_equal_a_recount(alice: Tenant, mallory: Tenant) -> None:
    for tenant in (alice, mallory):
        for queue in ("a", "b"):
            submit(tenant, 8, queue=queue)
    endings = sorted(ENDINGS) * 2
    lanes = [lane_of(tenant, queue) for tenant in (alice, mallory) for queue in ("a", "b")]
    for number, lane in enumerate(lanes):
        outcomes = [
            outcome(job, status, waited_seconds=1.5, ran_seconds=number)
            for job, status in zip(claim(lane), endings, strict=True)
        ]
        store.finish(f"worker-{number}", outcomes[:3])
        store.finish(f"worker-{number}", outcomes[3:])
    for lane in lanes:
        counted = LaneMinute.objects.filter(lane_id=lane.pk).aggregate(
            DONE=Sum("done"), FAILED=Sum("failed"), DLQ=Sum("dead"), CANCELLED=Sum("cancelled")
        )
        for status, count in counted.items():
            assert count == Job.objects.filter(lane=lane, status=status).count() == 2
    assert totals()["started"] == 32
    assert totals()["wait_seconds"] == 32 * 1.5
    assert totals()["run_seconds"] == 8 * (0 + 1 + 2 + 3)


def test_longest_wait_of_the_minute_is_kept(alice: Tenant) -> None:
    for waited in (1, 7, 3):
        finish(claim_one(alice), Status.DONE, waited_seconds=waited)
    assert max(LaneMinute.objects.values_list("max_wait_seconds", flat=True)) == 7
