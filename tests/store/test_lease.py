"""Leases are extended and given back by their holder, and taken away when they ran out."""

import math
import uuid
from datetime import timedelta

import pytest

from jobs import store
from jobs.models import Attempt, Job, LaneMinute, Tenant, Worker
from jobs.statuses import AttemptOutcome, Reason, Status
from jobs.store import Lease
from tests.store.steps import (
    WORKER,
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


def lease_of(job: store.ClaimedJob) -> Lease:
    return Lease(job.id, job.fence)


class TestExtend:
    def test_lease_lasts_from_now(self, alice: Tenant) -> None:
        job = claim_one(alice)
        before = row(job.id)
        assert store.extend([lease_of(job)], lease_seconds=300) == {job.id: False}
        after = row(job.id)
        gained = after.pop("lease_expires_at") - before.pop("lease_expires_at")
        assert 270 <= gained.total_seconds() < 280
        assert after == before

    def test_answer_carries_the_wish_to_cancel(self, alice: Tenant) -> None:
        jobs = [claim_one(alice), claim_one(alice)]
        store.cancel([jobs[1].id])
        answer = store.extend([lease_of(job) for job in jobs], lease_seconds=30)
        assert answer == {jobs[0].id: False, jobs[1].id: True}

    def test_lost_lease_is_not_in_the_answer(self, alice: Tenant) -> None:
        held, ended, released = (claim_one(alice) for _ in range(3))
        finish(ended, Status.DONE)
        store.release([lease_of(released)])
        claim(lane_of(alice))
        leases = [lease_of(job) for job in (held, ended, released)]
        before = [row(job.id) for job in (ended, released)]
        assert store.extend(leases, lease_seconds=99) == {held.id: False}
        assert [row(job.id) for job in (ended, released)] == before

    def test_lease_that_ran_out_can_be_extended_until_it_is_taken_away(self, alice: Tenant) -> None:
        job = claim_one(alice)
        expire([job.id])
        assert store.extend([lease_of(job)], lease_seconds=30) == {job.id: False}
        assert store.reap(WORKER, no_delay) == []

    def test_nothing_held_is_answered_with_nothing(self, db: None) -> None:
        assert store.extend([], lease_seconds=30) == {}


class TestRelease:
    def test_job_is_ready_again_with_its_attempt_unspent(self, alice: Tenant) -> None:
        (job_id,) = submit(alice)
        before = row(job_id)
        (job,) = claim(lane_of(alice))
        assert store.release([lease_of(job)]) == {job_id}
        assert row(job_id) == before | {"fence": job.fence}

    def test_job_that_is_to_be_cancelled_is_cancelled(self, alice: Tenant) -> None:
        job = claim_one(alice)
        store.cancel([job.id])
        assert store.release([lease_of(job)]) == {job.id}
        kept = row(job.id)
        assert (kept["status"], kept["lease_expires_at"]) == (Status.CANCELLED, None)
        assert kept["finished_at"] is not None
        (counted,) = LaneMinute.objects.values("lane_id", "cancelled", "started")
        assert counted == {"lane_id": job.lane_id, "cancelled": 1, "started": 0}

    def test_only_the_current_fence_gives_back(self, alice: Tenant) -> None:
        stale = claim_one(alice)
        store.release([lease_of(stale)])
        claim(lane_of(alice))
        before = row(stale.id)
        assert store.release([lease_of(stale)]) == set()
        assert row(stale.id) == before

    def test_lease_given_back_twice_in_one_call_gives_one_attempt_back(self, alice: Tenant) -> None:
        job = claim_one(alice)
        assert store.release([lease_of(job)] * 2) == {job.id}
        assert row(job.id)["attempt"] == 0


class TestReap:
    def test_lease_that_ran_out_is_a_failed_attempt_and_a_loss(self, alice: Tenant) -> None:
        job = claim_one(alice)
        expire([job.id])
        assert store.reap("reaper", lambda losses: 60 * losses) == [job.id]
        kept = row(job.id)
        assert (kept["status"], kept["lost_count"], kept["attempt"]) == (Status.FAILED, 1, 1)
        assert (kept["error_type"], kept["lease_expires_at"]) == ("lease_lost", None)
        attempt = Attempt.objects.get()
        assert (attempt.outcome, attempt.worker) == (AttemptOutcome.LOST, WORKER)

    def test_lease_in_force_is_left_alone(self, alice: Tenant) -> None:
        job = claim_one(alice)
        before = row(job.id)
        assert store.reap("reaper", no_delay) == []
        assert row(job.id) == before

    def test_wait_grows_with_the_number_of_losses(self, alice: Tenant) -> None:
        job = claim_one(alice)
        asked = []
        for _ in range(2):
            expire([job.id])
            store.reap("reaper", lambda losses: asked.append(losses) or 0)
            store.promote()
            claim(lane_of(alice))
        assert asked == [1, 2]

    def test_job_that_kills_three_workers_is_poison(self, alice: Tenant) -> None:
        (job_id,) = submit(alice, max_retries=50)
        for _ in range(3):
            store.promote()
            claim(lane_of(alice))
            expire([job_id])
            store.reap("reaper", no_delay)
        kept = row(job_id)
        assert (kept["status"], kept["reason"]) == (Status.DLQ, Reason.POISON)
        assert (kept["lost_count"], kept["attempt"]) == (3, 3)

    def test_lost_attempt_may_be_the_last(self, alice: Tenant) -> None:
        (job_id,) = submit(alice, max_retries=0)
        claim(lane_of(alice))
        expire([job_id])
        store.reap("reaper", no_delay)
        kept = row(job_id)
        assert (kept["status"], kept["reason"]) == (Status.DLQ, Reason.RETRIES_EXHAUSTED)

    def test_lost_attempt_before_the_last_is_tried_again(self, alice: Tenant) -> None:
        (job_id,) = submit(alice, max_retries=1)
        claim(lane_of(alice))
        expire([job_id])
        store.reap("reaper", no_delay)
        assert status_of(job_id) == Status.FAILED

    def test_job_that_is_to_be_cancelled_is_not_tried_again(self, alice: Tenant) -> None:
        job = claim_one(alice)
        store.cancel([job.id])
        expire([job.id])
        store.reap("reaper", no_delay)
        assert status_of(job.id) == Status.CANCELLED

    def test_worker_that_lost_its_job_can_no_longer_act(self, alice: Tenant) -> None:
        job = claim_one(alice)
        expire([job.id])
        store.reap("reaper", no_delay)
        before = row(job.id)
        assert finish(job, Status.DONE) == set()
        assert store.extend([lease_of(job)], lease_seconds=30) == {}
        assert store.release([lease_of(job)]) == set()
        assert row(job.id) == before

    def test_one_call_takes_no_more_than_its_limit(self, alice: Tenant) -> None:
        submit(alice, 5)
        ids = [job.id for job in claim(lane_of(alice))]
        expire(ids)
        assert [len(store.reap("reaper", no_delay, limit=2)) for _ in range(4)] == [2, 2, 1, 0]


class TestLoseWorker:
    def test_started_jobs_are_lost_and_the_others_go_back_unspent(self, alice: Tenant) -> None:
        started, claimed = claim_one(alice), claim_one(alice)
        answer = store.lose_worker(WORKER, {lease_of(started)}, no_delay)
        assert answer == ([started.id], [claimed.id])
        assert (status_of(started.id), row(started.id)["lost_count"]) == (Status.FAILED, 1)
        kept = row(claimed.id)
        assert (kept["status"], kept["attempt"], kept["lost_count"]) == (Status.PENDING, 0, 0)

    def test_jobs_of_other_workers_are_left_alone(self, alice: Tenant) -> None:
        submit(alice)
        (other,) = claim(lane_of(alice), worker="worker-2")
        before = row(other.id)
        assert store.lose_worker(WORKER, {lease_of(other)}, no_delay) == ([], [])
        assert row(other.id) == before

    def test_older_start_of_the_same_job_does_not_count(self, alice: Tenant) -> None:
        older = claim_one(alice)
        store.release([lease_of(older)])
        (newer,) = claim(lane_of(alice))
        assert store.lose_worker(WORKER, {lease_of(older)}, no_delay) == ([], [newer.id])


class TestPromote:
    @pytest.mark.parametrize("status", [Status.SCHEDULED, Status.FAILED])
    def test_job_whose_time_has_come_is_ready(self, alice: Tenant, status: Status) -> None:
        job_id = job_in(status, alice)
        make_due([job_id])
        before = row(job_id)
        assert store.promote() == 1
        assert row(job_id) == before | {"status": Status.PENDING}

    @pytest.mark.parametrize("status", [Status.SCHEDULED, Status.FAILED])
    def test_job_whose_time_is_ahead_waits(self, alice: Tenant, status: Status) -> None:
        job_id = job_in(status, alice)
        before = row(job_id)
        assert store.promote() == 0
        assert row(job_id) == before

    def test_longest_due_come_first_and_no_more_than_the_limit(self, alice: Tenant) -> None:
        ids = [job_in(Status.SCHEDULED, alice) for _ in range(3)]
        make_due(reversed(ids))
        for age, job_id in enumerate(ids):
            make_due([job_id])
            due = row(job_id)["run_at"]
            Job.objects.filter(pk=job_id).update(run_at=due.replace(year=due.year - 1 - age))
        assert store.promote(limit=2) == 2
        assert [status_of(job_id) for job_id in ids] == ["SCHEDULED", "PENDING", "PENDING"]


class TestDueIn:
    def test_where_nothing_waits_nothing_is_due(self, alice: Tenant) -> None:
        claim_one(alice)
        submit(alice)
        assert store.due_in() == math.inf

    @pytest.mark.parametrize("status", [Status.SCHEDULED, Status.FAILED])
    def test_it_is_the_time_until_the_first_of_those_that_wait(
        self, alice: Tenant, status: Status
    ) -> None:
        first = job_in(status, alice)
        (later,) = submit(alice, delay_seconds=7_200)
        assert 0 < store.due_in() < 3_601
        make_due([first])
        assert store.due_in() <= 0
        store.cancel([first])
        assert 3_600 < store.due_in() < 7_201
        store.cancel([later])
        assert store.due_in() == math.inf


def test_beat_is_of_one_worker(db: None) -> None:
    long_ago = database_time() - timedelta(hours=1)
    told = {"host": "h", "pid": 1, "slots": 4, "started_at": long_ago, "seen_at": long_ago}
    Worker.objects.create(id="one", asked_to="quiet", **told)
    Worker.objects.create(id="other", **told)
    assert store.beat("one", running=3, memory_bytes=5) == "quiet"
    assert store.beat("nobody", running=1, memory_bytes=1) is None
    one, other = Worker.objects.order_by("pk")
    assert (one.running, one.memory_bytes) == (3, 5)
    assert one.seen_at > long_ago
    assert (other.running, other.seen_at) == (0, long_ago)


def test_ids_in_answers_are_uuids(alice: Tenant) -> None:
    jobs = [claim_one(alice), claim_one(alice)]
    expire([jobs[0].id])
    answers = [*store.reap("reaper", no_delay), *store.release([lease_of(jobs[1])])]
    assert all(isinstance(job_id, uuid.UUID) for job_id in answers)
