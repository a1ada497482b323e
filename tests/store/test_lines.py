"""Claims line by line and at once: best jobs of a lane, worker tags, marks, and what holds back."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import pytest

from jobs import services, store
from jobs.models import Tenant
from jobs.store.dialect import is_postgresql
from tests.store.steps import WORKER, claim, lane_of, row, submit

pytestmark = pytest.mark.django_db
ACTOR = "command:test"


def paused(tenant: Tenant) -> None:
    services.set_queue_paused(tenant, "default", paused=True, actor=ACTOR)


def switched_off(tenant: Tenant) -> None:
    services.change_limits(tenant, actor=ACTOR, is_active=False)


def used_up(scope: str, **limits: int) -> Callable[[Tenant], None]:
    """A limit that one job has used up."""

    def limit(tenant: Tenant) -> None:
        if scope in {"tenant", "lane"}:
            target = tenant if scope == "tenant" else lane_of(tenant)
            services.change_limits(target, actor=ACTOR, **limits)
        else:
            owner = tenant if scope == "task" else None
            services.set_task_limit(owner, "echo", actor=ACTOR, **limits)
        assert len(claim(lane_of(tenant))) == 1

    return limit


OBSTACLES: dict[str, Callable[[Tenant], None]] = {
    "a pause": paused,
    "an inactive tenant": switched_off,
    **{
        f"{name} of the {scope}": used_up(scope, **{name: 1})
        for scope in ("tenant", "lane", "task", "task of all tenants")
        for name in ("max_running", "starts_per_minute")
    },
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("way", ["at once", "line by line"])
def test_what_came_up_since_the_look_holds_the_claim_back(
    alice: Tenant, way: str, obstacle: str
) -> None:
    submit(alice, 3)
    (seen,) = store.ready_lanes()
    assert seen.only_line
    OBSTACLES[obstacle](alice)
    share = seen.share(5) if way == "at once" else store.Share(seen.lane_id, 5)
    assert store.claim(WORKER, [share], lease_seconds=30) == []


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_holds_back_is_not_offered(alice: Tenant, obstacle: str) -> None:
    submit(alice, 3)
    OBSTACLES[obstacle](alice)
    assert [lane for lane in store.ready_lanes() if not lane.opens_in] == []


def test_limit_of_one_is_none_of_another(alice: Tenant, mallory: Tenant) -> None:
    services.set_task_limit(mallory, "echo", actor=ACTOR, max_running=0)
    services.set_task_limit(None, "another", actor=ACTOR, max_running=0)
    submit(alice, 2)
    (seen,) = store.ready_lanes()
    shares = [seen.share(5)]
    assert len(store.claim(WORKER, shares, lease_seconds=30)) == 2


def test_lanes_whose_line_is_not_known_are_claimed_beside_others(alice: Tenant) -> None:
    submit(alice, 2, queue="a")
    (seen,) = store.ready_lanes()
    submit(alice, 2, queue="b")
    shares = [seen.share(5), store.Share(lane_of(alice, "b").pk, 5)]
    claimed = store.claim(WORKER, shares, lease_seconds=30)
    assert sorted(job.queue for job in claimed) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("scope", ["tenant", "lane"])
@pytest.mark.parametrize("way", ["at once", "line by line"])
def test_claim_gets_what_a_limit_leaves(alice: Tenant, way: str, scope: str) -> None:
    target = alice if scope == "tenant" else lane_of(alice)
    services.change_limits(target, actor=ACTOR, max_running=3)
    submit(alice, 9)
    (seen,) = store.ready_lanes()
    share = seen.share(9)._replace(**{} if way == "at once" else {"only_line": None})
    assert share.limited_tenant == alice.pk
    assert len(claim(lane_of(alice), quota=1)) == 1
    assert len(store.claim(WORKER, [share], lease_seconds=30)) == 2
    assert store.claim(WORKER, [share], lease_seconds=30) == []


def test_lanes_claimed_at_once_share_what_their_tenant_may_run(alice: Tenant) -> None:
    services.change_limits(alice, actor=ACTOR, max_running=3)
    for queue in ("a", "b", "c"):
        submit(alice, 2, queue=queue)
    shares = [seen.share(2) for seen in store.ready_lanes()]
    assert all(share.only_line for share in shares)
    assert len(store.claim(WORKER, shares, lease_seconds=30)) == 3


def test_tenants_claimed_at_once_take_none_of_each_others_places(
    alice: Tenant, mallory: Tenant
) -> None:
    for tenant in (alice, mallory):
        services.change_limits(tenant, actor=ACTOR, max_running=3)
        submit(tenant, 4)
    shares = [seen.share(4) for seen in store.ready_lanes()]
    assert all(share.only_line for share in shares)
    claimed = store.claim(WORKER, shares, lease_seconds=30)
    assert Counter(job.tenant for job in claimed) == {"alice": 3, "mallory": 3}


class TestLook:
    def test_only_line_is_told(self, alice: Tenant) -> None:
        submit(alice, 2)
        (seen,) = store.ready_lanes()
        (job, _) = claim(lane_of(alice))
        assert seen.only_line == job.line_id

    @pytest.mark.parametrize("scope", ["tenant", "lane"])
    def test_line_with_a_pace_is_not_for_claims_at_once(self, alice: Tenant, scope: str) -> None:
        target = alice if scope == "tenant" else lane_of(alice)
        services.change_limits(target, actor=ACTOR, starts_per_minute=5)
        submit(alice)
        (seen,) = store.ready_lanes()
        assert seen.only_line is None

    @pytest.mark.parametrize("of_all", [False, True])
    def test_line_of_a_limited_task_is_not_for_claims_at_once(
        self, alice: Tenant, of_all: bool
    ) -> None:
        services.set_task_limit(None if of_all else alice, "echo", actor=ACTOR, max_running=5)
        submit(alice)
        (seen,) = store.ready_lanes()
        assert seen.only_line is None

    def test_one_of_several_lines_is_not_for_claims_at_once(self, alice: Tenant) -> None:
        submit(alice)
        submit(alice, task="another")
        (seen,) = store.ready_lanes()
        assert seen.only_line is None

    def test_rooms_of_limited_tasks_add_up(self, alice: Tenant) -> None:
        for task, limit in (("echo", 2), ("another", 3)):
            services.set_task_limit(alice, task, actor=ACTOR, max_running=limit)
            submit(alice, 5, task=task)
        (seen,) = store.ready_lanes()
        assert seen.room == 5
        services.change_limits(lane_of(alice), actor=ACTOR, max_running=4)
        (seen,) = store.ready_lanes()
        assert seen.room == 4

    def test_lane_that_waits_for_its_pace_says_how_long(self, alice: Tenant) -> None:
        services.change_limits(lane_of(alice), actor=ACTOR, starts_per_minute=30, start_burst=3)
        submit(alice, 9)
        assert len(claim(lane_of(alice))) == 3
        (seen,) = store.ready_lanes()
        assert seen.room == 0
        assert 1 < seen.opens_in <= 2


class TestSeveralLines:
    @pytest.mark.parametrize("best", ["echo", "another"])
    @pytest.mark.parametrize("limit", ["the quota", "max_running", "starts_per_minute"])
    def test_last_place_goes_to_the_best_job_of_the_lane(
        self, alice: Tenant, best: str, limit: str
    ) -> None:
        if limit != "the quota":
            services.change_limits(lane_of(alice), actor=ACTOR, **{limit: 1})
        for task in ("echo", "another"):
            submit(alice, 3, task=task, priority=5 if task == best else 0)
        claimed = claim(lane_of(alice), quota=1 if limit == "the quota" else 9)
        assert [job.task for job in claimed] == [best]

    @pytest.mark.parametrize("best", [(), ("gpu",)])
    def test_last_place_of_a_task_goes_to_its_best_job(
        self, alice: Tenant, best: tuple[str, ...]
    ) -> None:
        services.set_task_limit(alice, "echo", actor=ACTOR, max_running=1)
        for tags in ((), ("gpu",)):
            submit(alice, worker_tags=tags, priority=5 if tags == best else 0)
        (job,) = claim(lane_of(alice), tags=["gpu"])
        assert job.priority == 5

    def test_places_that_a_full_task_leaves_go_to_others(self, alice: Tenant) -> None:
        services.set_task_limit(alice, "echo", actor=ACTOR, max_running=1)
        for tags in ((), ("gpu",)):
            submit(alice, worker_tags=tags, priority=5)
        submit(alice, task="another")
        claimed = claim(lane_of(alice), quota=2, tags=["gpu"])
        assert [job.task for job in claimed] == ["echo", "another"]

    def test_lane_takes_no_places_that_it_has_no_jobs_for(self, alice: Tenant) -> None:
        services.set_task_limit(alice, "echo", actor=ACTOR, max_running=3)
        submit(alice, 2, queue="a")
        submit(alice, queue="b", priority=5)
        submit(alice, queue="b", task="another")
        claimed = claim(lane_of(alice, "a"), lane_of(alice, "b"), quota=3)
        assert len(claimed) == 4

    def test_best_come_first_whatever_line_they_are_in(self, alice: Tenant) -> None:
        for task, priority in (("a", 1), ("b", 5), ("a", 3), ("b", 0), ("c", 4)):
            submit(alice, task=task, priority=priority)
        assert [job.priority for job in claim(lane_of(alice), quota=3)] == [5, 4, 3]
        assert [job.priority for job in claim(lane_of(alice), quota=3)] == [1, 0]

    def test_what_is_beyond_the_limit_of_its_task_leaves_the_quota_to_others(
        self, alice: Tenant
    ) -> None:
        services.set_task_limit(alice, "echo", actor=ACTOR, max_running=1)
        submit(alice, 5, priority=9)
        submit(alice, 5, task="another")
        claimed = claim(lane_of(alice), quota=4)
        assert [job.task for job in claimed] == ["echo", "another", "another", "another"]

    def test_lines_share_what_their_lane_may_start(self, alice: Tenant) -> None:
        services.change_limits(lane_of(alice), actor=ACTOR, starts_per_minute=1, start_burst=4)
        for task in ("echo", "another"):
            submit(alice, 3, task=task)
        assert [len(claim(lane_of(alice), quota=3)) for _ in range(3)] == [3, 1, 0]


class TestTags:
    @pytest.mark.parametrize(
        ("tags", "found"),
        [
            ((), {"plain"}),
            (("gpu",), {"plain"}),
            (("other", "big"), {"plain"}),
            (("big", "gpu"), {"plain", "render"}),
            (("gpu", "more", "big"), {"plain", "render"}),
        ],
    )
    def test_job_goes_to_a_worker_that_has_all_the_tags_it_needs(
        self, alice: Tenant, tags: Collection[str], found: set[str]
    ) -> None:
        submit(alice, task="render", worker_tags=("gpu", "big"), queue="a")
        submit(alice, task="plain", queue="b")
        lanes = [lane_of(alice, queue) for queue in ("a", "b")]
        assert len(store.ready_lanes(tags=tags)) == len(found)
        assert {job.task for job in claim(*lanes, tags=tags)} == found

    def test_worker_that_knows_none_of_the_tasks_is_offered_nothing(self, alice: Tenant) -> None:
        (job_id,) = submit(alice, task="strange")
        before = row(job_id)
        assert store.ready_lanes(unknown={"strange"}) == []
        assert len(store.ready_lanes(unknown={"odd"})) == 1
        assert row(job_id) == before


class TestMarks:
    """Who reads behind a mark sees no job before it, nor that of the mark itself."""

    @pytest.fixture(autouse=True)
    def only_on_postgresql(self) -> None:
        if not is_postgresql():
            pytest.skip("SQLite leaves no dead entries to be passed by")

    def claimed_and_given_back(self, tenant: Tenant, count: int) -> store.ClaimedJob:
        """The last of so many jobs that are ready again, each where it was."""
        jobs = claim(lane_of(tenant), quota=count)
        store.release([store.Lease(job.id, job.fence) for job in jobs])
        return jobs[-1]

    @pytest.mark.parametrize("way", ["at once", "line by line"])
    def test_jobs_behind_the_mark_are_claimed(self, alice: Tenant, way: str) -> None:
        ids = submit(alice, 5)
        last = self.claimed_and_given_back(alice, 2)
        line = last.line_id if way == "at once" else None
        share = store.Share(last.lane_id, 9, line)
        behind: dict[str, Any] = {"lease_seconds": 30, "after": {last.line_id: last.mark}}
        assert [job.id for job in store.claim(WORKER, [share], **behind)] == ids[2:]
        assert store.claim(WORKER, [share], **behind) == []

    def test_lane_is_found_by_the_jobs_behind_its_mark(self, alice: Tenant) -> None:
        submit(alice, 3)
        submit(alice, queue="unmarked")
        some = self.claimed_and_given_back(alice, 2)
        assert len(store.ready_lanes(after={some.line_id: some.mark})) == 2
        every = self.claimed_and_given_back(alice, 3)
        (found,) = store.ready_lanes(after={every.line_id: every.mark})
        assert found.lane_id == lane_of(alice, "unmarked").pk

    def test_jobs_before_the_mark_of_their_line_leave_the_quota_to_other_lines(
        self, alice: Tenant
    ) -> None:
        submit(alice, 2, priority=5)
        (other,) = submit(alice, task="another")
        last = self.claimed_and_given_back(alice, 2)
        found = claim(lane_of(alice), quota=1, after={last.line_id: last.mark})
        assert [job.id for job in found] == [other]
