"""Ready jobs become running ones: the best first, within the limits, each under a new fence."""

import uuid
from datetime import timedelta

import pytest

from jobs import services, store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.store.steps import (
    WORKER,
    claim,
    claim_one,
    database_time,
    finish,
    job_in,
    lane_of,
    row,
    status_of,
    submit,
)

pytestmark = pytest.mark.django_db


def test_claimed_job_runs_under_a_lease(alice: Tenant) -> None:
    (job_id,) = submit(alice)
    before = database_time()
    (claimed,) = claim(lane_of(alice), lease_seconds=45)
    kept = row(job_id)
    assert (kept["status"], kept["worker"], kept["attempt"]) == (Status.RUNNING, WORKER, 1)
    assert kept["fence"] == claimed.fence > 0
    assert before - timedelta(seconds=1) <= kept["started_at"] <= database_time()
    assert 44 < (kept["lease_expires_at"] - kept["started_at"]).total_seconds() < 46


def test_claimed_job_brings_all_that_it_takes_to_run_it(alice: Tenant) -> None:
    given = {
        "task": "resize", "queue": "images", "payload": b'{"a": 1}', "has_args": True,
        "priority": 7, "max_retries": 5, "timeout_seconds": 2.5,
    }  # fmt: skip
    (job_id,) = submit(alice, **given)
    (claimed,) = claim(lane_of(alice, "images"))
    assert {name: getattr(claimed, name) for name in given} == given
    assert (claimed.id, claimed.attempt) == (job_id, 1)
    assert (claimed.tenant, claimed.tenant_id) == ("alice", alice.pk)
    assert claimed.lane_id == lane_of(alice, "images").pk
    assert type(claimed.payload) is bytes


def test_best_come_first_by_priority_then_due_time_then_id(alice: Tenant) -> None:
    ids = submit(alice, 6)
    now = database_time()
    for job_id, priority, age in zip(ids, [0, 5, 5, -5, 0, 0], [1, 1, 2, 9, 1, 3], strict=True):
        moment = now - timedelta(minutes=age)
        Job.objects.filter(pk=job_id).update(priority=priority, run_at=moment)
    expected = [ids[2], ids[1], ids[5], ids[0], ids[4], ids[3]]
    assert [job.id for job in claim(lane_of(alice), quota=4)] == expected[:4]
    assert [job.id for job in claim(lane_of(alice), quota=4)] == expected[4:]


def test_waiting_time_counts_from_when_the_job_was_due(alice: Tenant) -> None:
    (job_id,) = submit(alice)
    Job.objects.filter(pk=job_id).update(run_at=database_time() - timedelta(minutes=2))
    (claimed,) = claim(lane_of(alice))
    # SQLite counts in fractions of days: a quick claim may be short of it by microseconds.
    assert 119.999 <= claimed.waited_seconds < 180


def test_no_more_than_the_quota_of_each_lane(alice: Tenant) -> None:
    submit(alice, 3, queue="a")
    submit(alice, 3, queue="b")
    shares = [store.Share(lane_of(alice, "a").pk, 2), store.Share(lane_of(alice, "b").pk, 1)]
    claimed = store.claim(WORKER, shares, lease_seconds=30)
    assert sorted(job.queue for job in claimed) == ["a", "a", "b"]


def test_nothing_asked_for_is_answered_with_nothing(alice: Tenant) -> None:
    submit(alice)
    assert store.claim(WORKER, [], lease_seconds=30) == []
    assert claim(lane_of(alice), quota=0) == []


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.PENDING}))
def test_only_ready_jobs_are_claimed(alice: Tenant, status: Status) -> None:
    job_in(status, alice)
    assert claim(lane_of(alice)) == []


def test_each_job_is_granted_once(alice: Tenant) -> None:
    ids = submit(alice, 5)
    first, second = claim(lane_of(alice), quota=3), claim(lane_of(alice), quota=3)
    assert [job.id for job in first + second] == ids


def test_fence_rises_with_every_grant_whatever_happens_in_between(alice: Tenant) -> None:
    (job_id,) = submit(alice)
    fences, lane = [], lane_of(alice)
    for _ in range(2):
        (claimed,) = claim(lane)
        fences.append(claimed.fence)
        store.release([store.Lease(job_id, claimed.fence)])
        (claimed,) = claim(lane)
        fences.append(claimed.fence)
        finish(claimed, Status.FAILED)
        store.retry([job_id])
        (claimed,) = claim(lane)
        fences.append(claimed.fence)
        finish(claimed, Status.DLQ)
        store.redrive([job_id])
    assert fences == sorted(set(fences))


def test_limit_of_a_lane_holds(alice: Tenant) -> None:
    submit(alice, 5)
    lane = lane_of(alice)
    services.change_limits(lane, actor="command:test", max_running=2)
    assert [len(claim(lane)), len(claim(lane))] == [2, 0]


def test_limit_of_a_tenant_spans_its_lanes(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=3)
    submit(alice, 5, queue="a")
    submit(alice, 5, queue="b")
    lanes = [lane_of(alice, "a"), lane_of(alice, "b")]
    assert len(claim(*lanes, quota=2)) == 3
    assert claim(*lanes) == []


def test_narrower_limit_of_lane_and_tenant_holds(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=4)
    for queue, limit in (("a", 3), ("b", 3)):
        services.change_limits(lane_of(alice, queue), actor="command:test", max_running=limit)
        submit(alice, 5, queue=queue)
    claimed = claim(lane_of(alice, "a"), lane_of(alice, "b"))
    assert [job.queue for job in claimed].count("a") == 3
    assert len(claimed) == 4


def test_limit_of_one_lane_does_not_hold_back_another(alice: Tenant) -> None:
    services.change_limits(lane_of(alice, "a"), actor="command:test", max_running=1)
    submit(alice, 3, queue="a")
    submit(alice, 3, queue="b")
    assert len(claim(lane_of(alice, "a"), lane_of(alice, "b"))) == 1 + 3


def test_limit_of_one_tenant_does_not_hold_back_another(alice: Tenant, mallory: Tenant) -> None:
    services.change_limits(mallory, actor="command:test", max_running=1)
    for tenant in (alice, mallory):
        submit(tenant, 3)
    claimed = claim(lane_of(alice), lane_of(mallory))
    assert [job.tenant for job in claimed].count("alice") == 3
    assert [job.tenant for job in claimed].count("mallory") == 1


def test_place_is_free_again_when_a_job_has_ended(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=1)
    submit(alice, 2)
    (first,) = claim(lane_of(alice))
    assert claim(lane_of(alice)) == []
    finish(first, Status.DONE)
    assert len(claim(lane_of(alice))) == 1


def test_lowered_limit_stops_new_grants_and_ends_nothing(alice: Tenant) -> None:
    submit(alice, 6)
    running = claim(lane_of(alice), quota=4)
    services.change_limits(alice, actor="command:test", max_running=2)
    assert claim(lane_of(alice)) == []
    assert {status_of(job.id) for job in running} == {Status.RUNNING}


def test_lane_above_its_lowered_limit_leaves_its_tenant_no_more_places(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=5)
    submit(alice, 5, queue="a")
    submit(alice, 5, queue="b")
    lanes = [lane_of(alice, "a"), lane_of(alice, "b")]
    assert len(claim(lanes[0], quota=3)) == 3
    services.change_limits(lanes[0], actor="command:test", max_running=1)
    assert [job.queue for job in claim(*lanes)] == ["b", "b"]


def test_limit_of_nothing_starts_nothing(alice: Tenant) -> None:
    submit(alice)
    services.change_limits(alice, actor="command:test", max_running=0)
    assert claim(lane_of(alice)) == []


def test_paused_queue_starts_nothing_until_it_is_resumed(alice: Tenant) -> None:
    submit(alice)
    services.set_queue_paused(alice, "default", paused=True, actor="command:test")
    assert (claim(lane_of(alice)), store.ready_lanes()) == ([], [])
    services.set_queue_paused(alice, "default", paused=False, actor="command:test")
    assert len(store.ready_lanes()) == len(claim(lane_of(alice))) == 1


def test_inactive_tenant_starts_nothing(alice: Tenant) -> None:
    submit(alice)
    services.change_limits(alice, actor="command:test", is_active=False)
    assert (claim(lane_of(alice)), store.ready_lanes()) == ([], [])


def test_unknown_tasks_are_left_untouched(alice: Tenant) -> None:
    (strange,) = submit(alice, task="strange")
    (known,) = submit(alice, task="known")
    before = row(strange)
    assert [job.id for job in claim(lane_of(alice), unknown={"strange", "odd"})] == [known]
    assert row(strange) == before


def test_unknown_tasks_do_not_use_up_the_quota(alice: Tenant) -> None:
    submit(alice, 3, task="strange", priority=10)
    (known,) = submit(alice, task="known")
    assert [job.id for job in claim(lane_of(alice), quota=1, unknown=["strange"])] == [known]


def test_lane_that_does_not_exist_is_passed_over(alice: Tenant) -> None:
    submit(alice)
    shares = [store.Share(lane_of(alice).pk + 1_000, 5), store.Share(lane_of(alice).pk, 5)]
    assert len(store.claim(WORKER, shares, lease_seconds=30)) == 1


class TestReadyLanes:
    def test_lanes_with_ready_jobs_are_found(self, alice: Tenant, mallory: Tenant) -> None:
        for tenant, queue in ((alice, "a"), (alice, "b"), (mallory, "a")):
            submit(tenant, 3, queue=queue)
        submit(alice, queue="later", delay_seconds=60)
        lane_of(alice, "empty")
        found = store.ready_lanes()
        expected = {lane_of(alice, "a").pk, lane_of(alice, "b").pk, lane_of(mallory, "a").pk}
        assert {lane.lane_id for lane in found} == expected
        assert len(found) == 3

    def test_nothing_is_found_where_nothing_is_ready(self, alice: Tenant) -> None:
        job_in(Status.RUNNING, alice)
        assert store.ready_lanes() == []

    def test_only_the_queues_that_were_asked_for(self, alice: Tenant) -> None:
        for queue in ("a", "b", "c"):
            submit(alice, queue=queue)
        found = store.ready_lanes(["a", "c"])
        assert {lane.lane_id for lane in found} == {lane_of(alice, q).pk for q in ("a", "c")}

    def test_lane_without_limits_has_room_without_end(self, alice: Tenant) -> None:
        submit(alice)
        (found,) = store.ready_lanes()
        assert (found.room, found.tenant_room) == (None, None)

    def test_rooms_are_what_the_limits_of_lane_and_tenant_leave(self, alice: Tenant) -> None:
        services.change_limits(alice, actor="command:test", max_running=5)
        services.change_limits(lane_of(alice, "a"), actor="command:test", max_running=2)
        for queue in ("a", "b"):
            submit(alice, 4, queue=queue)
        claim(lane_of(alice, "a"), quota=1)
        rooms = {lane.lane_id: (lane.room, lane.tenant_room) for lane in store.ready_lanes()}
        assert rooms == {lane_of(alice, "a").pk: (1, 4), lane_of(alice, "b").pk: (None, 4)}

    def test_lane_without_room_is_left_out(self, alice: Tenant) -> None:
        services.change_limits(alice, actor="command:test", max_running=1)
        submit(alice, 3)
        claim(lane_of(alice))
        assert store.ready_lanes() == []

    def test_lanes_without_room_are_told_of_tenants_whose_jobs_the_worker_runs(
        self, alice: Tenant, mallory: Tenant
    ) -> None:
        for tenant in (alice, mallory):
            services.change_limits(tenant, actor="command:test", max_running=1)
            submit(tenant, 3)
            claim(lane_of(tenant))
        (found,) = store.ready_lanes(own=[alice.pk])
        assert (found.lane_id, found.tenant_room) == (lane_of(alice).pk, 0)

    @pytest.mark.parametrize(("weight", "tenant_weight"), [(5, 3), (1_000, 1_000)])
    def test_weights_of_lane_and_tenant_are_told(
        self, alice: Tenant, weight: int, tenant_weight: int
    ) -> None:
        submit(alice)
        services.change_limits(alice, actor="command:test", weight=tenant_weight)
        services.change_limits(lane_of(alice), actor="command:test", weight=weight)
        (found,) = store.ready_lanes()
        assert (found.weight, found.tenant_weight) == (weight, tenant_weight)


def test_ids_of_claimed_jobs_are_uuids(alice: Tenant) -> None:
    assert isinstance(claim_one(alice).id, uuid.UUID)
