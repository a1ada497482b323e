"""What one is in the midst of, another cannot spoil: locks, the gate, and what is counted when."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings

from jobs import services, store
from jobs.models import Job, Lane, SubmissionSecond, Tenant
from jobs.statuses import Status
from jobs.store.dialect import fetch, is_postgresql
from jobs.store.limits import WINDOW_SECONDS
from jobs.submission import NewJob
from tests.store.steps import (
    WORKER,
    claim,
    claim_one,
    database_time,
    expire,
    lane_of,
    no_delay,
    outcome,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = "command:test"
A_WHILE = 0.5
"""Seconds given to another who may have to wait for us."""

Start = Callable[[Callable[[], Any]], Future[Any]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an act on another connection, and gives it a while to end."""
    with ThreadPoolExecutor(1) as pool:

        def start_one(act: Callable[[], Any]) -> Future[Any]:
            future = pool.submit(lambda: together([act])[0])
            wait([future], A_WHILE)
            return future

        yield start_one


@pytest.fixture
def several_writers() -> None:
    """Skips where nobody meets the locks of another."""
    if not is_postgresql():
        pytest.skip("SQLite has one writer at a time")


@contextmanager
def calling_before(words: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """Acts just before this connection's first statement with these words; gives that one."""
    found: list[str] = []

    def wrapper(execute: Any, statement: str, *others: Any) -> Any:
        if words in statement and not found:
            found.append(statement)
            act()
        return execute(statement, *others)

    with connection.execute_wrapper(wrapper):
        yield found


def at_once(lane: Lane) -> store.Share:
    """A share for a claim that asks for nothing before."""
    (seen,) = [one for one in store.ready_lanes() if one.lane_id == lane.pk]
    assert seen.only_line
    return seen.share(9)


def line_by_line(lane: Lane) -> store.Share:
    """A share for a claim that looks at the lines of the lane."""
    return store.Share(lane.pk, 9)


WAYS = pytest.mark.parametrize("way", [at_once, line_by_line])


class TestLastPlace:
    """One place under a limit, and two who claim: whatever the moment, one job starts."""

    @pytest.fixture(params=["tenant", "lane", "task", "task of all tenants"])
    def lanes(self, request: pytest.FixtureRequest, alice: Tenant, mallory: Tenant) -> list[Lane]:
        """The lanes that the two claim from, under one limit."""
        lanes = [lane_of(alice, "a"), lane_of(alice, "b")]
        match request.param:
            case "tenant":
                services.change_limits(alice, actor=ACTOR, max_running=1)
            case "lane":
                services.change_limits(lanes[0], actor=ACTOR, max_running=1)
                lanes[1] = lanes[0]
            case "task":
                services.set_task_limit(alice, "echo", actor=ACTOR, max_running=1)
            case _:
                services.set_task_limit(None, "echo", actor=ACTOR, max_running=1)
                lanes[1] = lane_of(mallory)
        for lane in lanes:
            submit(lane.tenant, 2, queue=lane.queue)
        return lanes

    @pytest.mark.parametrize("moment", ["SKIP LOCKED", "count(*)", "UPDATE jobs_job"])
    def test_is_taken_once(self, lanes: list[Lane], start: Start, moment: str) -> None:
        if moment == "SKIP LOCKED" and not is_postgresql():
            pytest.skip("SQLite has no such locks")
        others: list[Future[Any]] = []

        def let_the_other_claim() -> None:
            others.append(start(lambda: claim(lanes[1])))

        with calling_before(moment, let_the_other_claim) as found:
            claim(lanes[0])
        assert found
        others[0].result()
        assert Job.objects.filter(status=Status.RUNNING).count() == 1

    @pytest.mark.parametrize("scope", ["tenant", "lane"])
    @pytest.mark.parametrize("moment", ["SKIP LOCKED", "UPDATE jobs_job"])
    def test_is_taken_once_at_once(
        self, alice: Tenant, start: Start, scope: str, moment: str
    ) -> None:
        if moment == "SKIP LOCKED" and not is_postgresql():
            pytest.skip("SQLite has no such locks")
        lane = lane_of(alice)
        services.change_limits(alice if scope == "tenant" else lane, actor=ACTOR, max_running=1)
        submit(alice, 4)
        share = at_once(lane)
        others: list[Future[Any]] = []

        def let_the_other_claim() -> None:
            others.append(start(lambda: store.claim("other", [share], lease_seconds=30)))

        with calling_before(moment, let_the_other_claim) as found:
            store.claim(WORKER, [share], lease_seconds=30)
        assert found
        others[0].result()
        assert Job.objects.filter(status=Status.RUNNING).count() == 1


class TestLocks:
    """Who claims waits for nobody: what another holds is passed over."""

    @pytest.fixture(autouse=True)
    def on_postgresql(self, several_writers: None) -> None:
        """SQLite has no such locks."""

    @WAYS
    def test_job_that_another_holds_is_passed_over(
        self, alice: Tenant, start: Start, way: Callable[[Lane], store.Share]
    ) -> None:
        ids = submit(alice, 2)
        share = way(lane_of(alice))._replace(quota=1)
        with transaction.atomic():
            Job.objects.select_for_update().get(pk=ids[0])
            claiming = start(lambda: store.claim(WORKER, [share], lease_seconds=30))
            assert claiming.done(), "without waiting for us"
        assert [job.id for job in claiming.result()] == [ids[1]]

    @WAYS
    def test_limited_tenant_that_another_claims_for_is_passed_over(
        self,
        alice: Tenant,
        mallory: Tenant,
        start: Start,
        way: Callable[[Lane], store.Share],
    ) -> None:
        services.change_limits(alice, actor=ACTOR, max_running=5)
        for tenant in (alice, mallory):
            submit(tenant, 2)
        shares = [way(lane_of(alice)), way(lane_of(mallory))._replace(quota=1)]
        with transaction.atomic():
            store.claim(WORKER, [shares[0]._replace(quota=1)], lease_seconds=30)
            claiming = start(lambda: store.claim("other", shares, lease_seconds=30))
            assert claiming.done(), "without waiting for us"
        assert [job.tenant for job in claiming.result()] == ["mallory"]

    def test_reaper_and_promoter_pass_over_what_another_holds(
        self, alice: Tenant, start: Start
    ) -> None:
        expired = claim_one(alice)
        (due,) = submit(alice, delay_seconds=60)
        expire([expired.id])
        Job.objects.filter(pk=due).update(run_at=database_time())
        with transaction.atomic():
            list(Job.objects.select_for_update())
            acting = start(lambda: (store.reap("reaper", no_delay), store.promote()))
            assert acting.done(), "without waiting for us"
        assert acting.result() == ([], 0)


class TestGate:
    """Between claims and changes of settings."""

    @WAYS
    def test_claim_waits_for_the_change_that_is_under_way(
        self, alice: Tenant, start: Start, way: Callable[[Lane], store.Share]
    ) -> None:
        submit(alice)
        share = way(lane_of(alice))
        with transaction.atomic():
            services.set_queue_paused(alice, "default", paused=True, actor=ACTOR)
            claiming = start(lambda: store.claim(WORKER, [share], lease_seconds=30))
            assert not claiming.done()
        assert claiming.result() == []

    def test_relay_waits_for_the_change_that_is_under_way(
        self, alice: Tenant, start: Start
    ) -> None:
        services.change_limits(alice, actor=ACTOR, max_running=1)
        submit(alice, 2)
        (seen,) = store.ready_lanes()
        share = seen.share(1)
        (job,) = store.claim(WORKER, [share], lease_seconds=30)
        done = [outcome(job, Status.DONE)]
        with transaction.atomic():
            services.set_queue_paused(alice, "default", paused=True, actor=ACTOR)
            relaying = start(lambda: store.relay(WORKER, done, [share], lease_seconds=30))
            assert not relaying.done()
        assert relaying.result() == ({job.id}, [])

    CHANGES: dict[str, Callable[[Tenant], object]] = {
        "pause": lambda t: services.set_queue_paused(t, "default", paused=True, actor=ACTOR),
        "limit": lambda t: services.change_limits(t, actor=ACTOR, max_running=0),
        "limit of a task": lambda t: services.set_task_limit(t, "x", actor=ACTOR, max_running=0),
    }

    @pytest.mark.parametrize("change", CHANGES)
    @WAYS
    def test_change_waits_for_the_claims_under_way(
        self, alice: Tenant, start: Start, way: Callable[[Lane], store.Share], change: str
    ) -> None:
        submit(alice)
        share = way(lane_of(alice))
        with transaction.atomic():
            assert len(store.claim(WORKER, [share], lease_seconds=30)) == 1
            changing = start(lambda: self.CHANGES[change](alice))
            assert not changing.done()
        changing.result(30)

    def test_claims_pass_the_gate_together(
        self, alice: Tenant, mallory: Tenant, start: Start, several_writers: None
    ) -> None:
        for tenant in (alice, mallory):
            submit(tenant)
        lanes = [lane_of(alice), lane_of(mallory)]
        with transaction.atomic():
            claim(lanes[0])
            claiming = start(lambda: claim(lanes[1]))
            assert claiming.done()
        assert len(claiming.result()) == 1

    def test_gate_is_held_for_a_transaction(self, db: None) -> None:
        with pytest.raises(RuntimeError, match="transaction"):
            store.pass_gate_alone()


class TestServerThatHasJustStarted:
    """Nobody could extend a lease while it was down: nobody is taken for silent at once."""

    def expired_before_the_start(self, tenant: Tenant) -> store.ClaimedJob:
        job = claim_one(tenant)
        expire([job.id])
        Job.objects.filter(pk=job.id).update(started_at=database_time() - timedelta(days=9_000))
        return job

    def test_gives_every_worker_the_time_of_a_lease(
        self, alice: Tenant, several_writers: None
    ) -> None:
        job = self.expired_before_the_start(alice)
        with override_settings(JOBQUEUE={"lease_seconds": 10**8}):
            assert not store.has_expired()
            assert store.reap("reaper", no_delay) == []
        with override_settings(JOBQUEUE={"lease_seconds": 3, "heartbeat_seconds": 1}):
            assert store.has_expired()
            assert store.reap("reaper", no_delay) == [job.id]

    def test_lease_that_began_since_then_can_run_out(self, alice: Tenant) -> None:
        job = claim_one(alice)
        assert not store.has_expired()
        expire([job.id])
        with override_settings(JOBQUEUE={"lease_seconds": 10**8}):
            assert store.has_expired()
            assert store.reap("reaper", no_delay) == [job.id]


def this_second() -> int:
    """The second that submissions are counted in at this moment."""
    ((second,),) = fetch("SELECT EPOCH()", {})
    return int(second)


class TestSubmissions:
    @pytest.mark.parametrize(("older", "wait"), [(0, 1), (1, 0)])
    def test_second_counts_to_the_end_of_the_window(
        self, alice: Tenant, older: int, wait: int
    ) -> None:
        answer, began = -1, -1
        while began != this_second():  # until all of it was within one second of the clock
            began = this_second()
            SubmissionSecond.objects.all().delete()
            second = began - WINDOW_SECONDS - older
            SubmissionSecond.objects.create(tenant_id=alice.pk, second=second, submitted=10)
            answer = store.submissions_wait(alice.pk, count=1, limit=10)
        assert answer == wait

    @pytest.mark.parametrize("limit", ["submissions_per_minute", "max_pending"])
    def test_submissions_of_a_limited_tenant_wait_for_each_other(
        self, alice: Tenant, start: Start, limit: str
    ) -> None:
        services.change_limits(alice, actor=ACTOR, **{limit: 2})
        services.submit(alice, NewJob(task="echo"))  # who made a lane would hold up the other
        with transaction.atomic():
            services.submit(alice, NewJob(task="echo"))
            submitting = start(lambda: services.submit(alice, NewJob(task="echo")))
            assert not submitting.done()
        assert submitting.exception(30) is not None
        assert Job.objects.count() == 2

    def test_calls_with_the_same_keys_never_wait_for_each_other_crosswise(
        self, alice: Tenant, start: Start
    ) -> None:
        a, b = (NewJob(task="echo", idempotency_key=key) for key in ("a", "b"))
        services.submit(alice, NewJob(task="echo"))  # who made a lane would hold up the other
        with transaction.atomic():
            first = store.insert_jobs(alice.pk, [a])
            submitting = start(lambda: services.submit_many(alice, [b, a]))
            assert not submitting.done()
            first += store.insert_jobs(alice.pk, [b])
        assert {one.job_id for one in submitting.result(30)} == {one.job_id for one in first}

    def test_key_belongs_to_its_tenant_also_when_it_is_used_again(
        self, alice: Tenant, mallory: Tenant
    ) -> None:
        new = NewJob(task="echo", idempotency_key="k", request_hash="h")
        first = {t: store.insert_jobs(t.pk, [new])[0].job_id for t in (alice, mallory)}
        again = {t: store.insert_jobs(t.pk, [new])[0].job_id for t in (alice, mallory)}
        assert first == again

    def test_tenant_may_have_so_many_lines_and_go_on_using_them(self, alice: Tenant) -> None:
        with override_settings(JOBQUEUE={"max_lines_per_tenant": 2}):
            for task in ("a", "b", "a"):
                services.submit(alice, NewJob(task=task))
            with pytest.raises(services.InvalidInput) as caught:
                services.submit(alice, NewJob(task="c"))
        assert caught.value.field_code == "too_many_lines"

    def test_batch_with_one_refused_job_leaves_nothing(self, alice: Tenant) -> None:
        services.submit(alice, NewJob(task="echo", idempotency_key="k", request_hash="one"))
        other = NewJob(task="echo", idempotency_key="k", request_hash="other")
        with pytest.raises(services.IdempotencyMismatch):
            services.submit_many(alice, [NewJob(task="echo"), other])
        assert Job.objects.count() == 1


class TestForgottenTenant:
    def test_tenant_with_a_job_is_not_forgotten(self, alice: Tenant) -> None:
        store.take_submissions(alice.pk, count=1, limit=5)
        submit(alice)
        with transaction.atomic():
            assert not store.forget_tenant(alice.pk)
        assert SubmissionSecond.objects.count() == 1

    def test_only_what_was_counted_of_the_tenant_is_forgotten(
        self, alice: Tenant, mallory: Tenant
    ) -> None:
        for tenant in (alice, mallory):
            store.take_submissions(tenant.pk, count=1, limit=5)
        with transaction.atomic():
            assert store.forget_tenant(alice.pk)
        assert SubmissionSecond.objects.get().tenant_id == mallory.pk
