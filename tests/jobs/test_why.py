"""Why a job waits always has an answer: every gate, and when it opens."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from jobs import services, store
from jobs.models import Job, Lane, LaneMinute, Tenant, Worker
from jobs.services import change_limits, set_queue_paused, set_task_limit
from jobs.statuses import Status
from jobs.store import place
from jobs.submission import NewJob
from jobs.why import GATES, Gate, explain
from tests.factories import make_job
from tests.store.steps import database_time

pytestmark = pytest.mark.django_db
ACTOR = "command:test"


@pytest.fixture
def worker(db: None) -> Worker:
    """A live worker with four free slots that knows `echo`."""
    now = timezone.now()
    return Worker.objects.create(
        id="w1", host="h", pid=1, slots=4, running=0, tasks=["echo"], started_at=now, seen_at=now
    )


def gates(job: Job) -> dict[str, Gate]:
    found = {gate.code: gate for gate in explain(job).gates}
    assert set(found) <= set(GATES)
    return found


def codes(job: Job) -> list[str]:
    return list(gates(job))


def limit(tenant: Tenant, kind: str, **limits: Any) -> None:
    """Set a limit of this kind, in the words of its gate."""
    match kind:
        case "tenant":
            change_limits(tenant, actor=ACTOR, **limits)
        case "queue":
            change_limits(tenant.lanes.get(), actor=ACTOR, **limits)
        case "task":
            set_task_limit(tenant, "echo", actor=ACTOR, **limits)
        case _:
            set_task_limit(None, "echo", actor=ACTOR, **limits)


KINDS = ("tenant", "queue", "task", "shared_task")


@pytest.mark.usefixtures("worker")
class TestTime:
    def test_a_job_may_be_too_early(self, alice: Tenant) -> None:
        job = make_job(alice, Status.SCHEDULED)
        assert codes(job) == ["scheduled"]
        assert gates(job)["scheduled"].opens_at == job.run_at

    def test_a_failed_job_waits_for_its_next_attempt(self, alice: Tenant) -> None:
        job = make_job(alice, Status.FAILED, error_type="KeyError")
        assert codes(job) == ["backoff"]
        assert gates(job)["backoff"].opens_at == job.run_at
        assert "KeyError" in explain(job).text

    def test_a_job_may_wait_for_others(self, alice: Tenant) -> None:
        job = make_job(alice)
        Job.objects.filter(pk=job.pk).update(status=Status.BLOCKED)
        job.refresh_from_db()
        assert codes(job) == ["blocked"]


@pytest.mark.usefixtures("worker")
def test_pause_and_inactivity_are_reasons(alice: Tenant) -> None:
    job = make_job(alice)
    set_queue_paused(alice, "default", paused=True, actor=ACTOR)
    change_limits(alice, actor=ACTOR, is_active=False)
    assert codes(job) == ["tenant_inactive", "queue_paused", "in_line"]


@pytest.mark.usefixtures("worker")
class TestLimits:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_limit_of_running_jobs_is_a_reason_once_it_is_reached(
        self, alice: Tenant, kind: str
    ) -> None:
        make_job(alice, Status.RUNNING)
        waiting = make_job(alice)
        limit(alice, kind, max_running=2)
        assert codes(waiting) == ["in_line"]
        limit(alice, kind, max_running=1)
        assert codes(waiting) == [f"{kind}_limit", "in_line"]
        gate = gates(waiting)[f"{kind}_limit"]
        assert (gate.used, gate.limit, gate.opens_at) == (1, 1, None)
        assert "runs 1 of 1 jobs" in gate.text

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_pace_of_starts_is_a_reason_until_the_next_may_start(
        self, alice: Tenant, kind: str
    ) -> None:
        waiting = [make_job(alice) for _ in range(3)][-1]
        limit(alice, kind, starts_per_minute=2, start_burst=2)
        assert codes(waiting) == ["in_line"]
        before = database_time()
        assert len(store.claim("w", [store.Share(waiting.lane_id, 3)], lease_seconds=30)) == 2
        assert codes(waiting) == [f"{kind}_rate", "in_line"]
        gate = gates(waiting)[f"{kind}_rate"]
        assert (gate.used, gate.limit) == (None, 2)
        assert gate.opens_at is not None
        until = (gate.opens_at - before).total_seconds()
        passed = (database_time() - before).total_seconds()
        assert 29.9 <= until <= 30.1 + passed

    def test_only_what_the_limit_is_about_counts(self, alice: Tenant, mallory: Tenant) -> None:
        make_job(mallory, Status.RUNNING)
        make_job(alice, Status.RUNNING, task="sleep", payload=b'{"seconds": 1}')
        make_job(alice, Status.RUNNING, queue="other", task="sleep", payload=b'{"seconds": 1}')
        waiting = make_job(alice)
        change_limits(alice, actor=ACTOR, max_running=3)
        change_limits(Lane.objects.get(pk=waiting.lane_id), actor=ACTOR, max_running=2)
        set_task_limit(alice, "echo", actor=ACTOR, max_running=1)
        set_task_limit(None, "echo", actor=ACTOR, max_running=2)
        assert codes(waiting) == ["in_line"]
        set_task_limit(None, "echo", actor=ACTOR, max_running=1)
        assert codes(waiting) == ["shared_task_limit", "in_line"]

    def test_all_that_is_reached_is_told(self, alice: Tenant) -> None:
        waiting = [make_job(alice), make_job(alice)][-1]
        for kind in KINDS:
            limit(alice, kind, max_running=1, starts_per_minute=1)
        store.claim("w", [store.Share(waiting.lane_id, 1)], lease_seconds=30)
        both = [f"{kind}_{what}" for kind in KINDS for what in ("limit", "rate")]
        assert codes(waiting) == [*both, "in_line"]


class TestWorkers:
    def test_without_a_worker_that_is_the_reason(self, alice: Tenant) -> None:
        assert codes(make_job(alice)) == ["no_worker", "in_line"]

    @pytest.mark.parametrize(
        "change",
        [
            {"queues": ["other"]},
            {"is_draining": True},
            {"stopped_at": timezone.now()},
            {"seen_at": timezone.now() - timedelta(hours=1)},
        ],
        ids=str,
    )
    def test_one_that_does_not_serve_the_queue_does_not_count(
        self, alice: Tenant, worker: Worker, change: dict[str, object]
    ) -> None:
        Worker.objects.filter(pk=worker.pk).update(**change)
        assert codes(make_job(alice)) == ["no_worker", "in_line"]

    def test_one_without_the_tags_does_not_count(self, alice: Tenant, worker: Worker) -> None:
        job = make_job(alice, worker_tags=("gpu", "linux"))
        for tags in ([], ["gpu"]):
            Worker.objects.update(tags=tags)
            assert codes(job) == ["no_worker_with_tags", "in_line"]
        assert "with the tags gpu, linux" in explain(job).text
        assert "with the tag arm serves" in explain(make_job(alice, worker_tags=("arm",))).text
        Worker.objects.update(tags=["linux", "x", "gpu"])
        assert codes(job) == ["in_line"]

    def test_one_that_cannot_know_the_task_does_not_count(
        self, alice: Tenant, worker: Worker
    ) -> None:
        Worker.objects.update(tasks=["sleep"])
        job = make_job(alice)
        assert codes(job) == ["no_worker_for_task", "in_line"]
        assert "'echo'" in explain(job).text

    def test_one_may_find_a_task_by_its_import_path(self, alice: Tenant, worker: Worker) -> None:
        assert codes(make_job(alice, task="shop.tasks.send")) == ["in_line"]

    def test_one_must_have_both_tags_and_task(self, alice: Tenant, worker: Worker) -> None:
        seen = {"started_at": worker.started_at, "seen_at": worker.seen_at}
        Worker.objects.create(id="w2", host="h", pid=2, slots=1, tags=["gpu"], tasks=[], **seen)
        assert codes(make_job(alice, worker_tags=("gpu",))) == ["no_worker_for_task", "in_line"]

    def test_full_ones_are_a_reason(self, alice: Tenant, worker: Worker) -> None:
        Worker.objects.update(running=4)
        gate = explain(make_job(alice)).gates[0]
        assert (gate.code, gate.used, gate.limit) == ("workers_busy", 4, 4)


@pytest.mark.usefixtures("worker")
class TestPlaceInLine:
    def test_the_next_in_line_waits_for_nothing_else(self, alice: Tenant) -> None:
        explanation = explain(make_job(alice))
        assert [gate.code for gate in explanation.gates] == ["in_line"]
        assert explanation.text == "The job is the next of its queue."

    def test_it_follows_priority_and_age_over_all_lines(self, alice: Tenant) -> None:
        first, second = make_job(alice), make_job(alice, worker_tags=("gpu",))
        urgent = make_job(alice, priority=9, task="sleep", payload=b'{"seconds": 1}')
        idle = make_job(alice, priority=-9)
        make_job(alice, queue="other", priority=100)
        places = [explain(job).gates[-1].used for job in (urgent, first, second, idle)]
        assert places == [0, 1, 2, 3]

    def test_it_is_counted_up_to_a_bound_in_each_line(
        self, alice: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(place, "COUNTED_AT_MOST", 6)
        monkeypatch.setattr(place, "COUNTED_IN_EACH_LINE", 1)
        jobs = [make_job(alice, queue=name) for name in ("long", "short") for _ in range(8)]
        make_job(alice, queue="long", worker_tags=("gpu",))
        last = make_job(alice, queue="long")
        assert gates(jobs[2])["in_line"].text.startswith("2 ready jobs come before it")
        assert gates(last)["in_line"].text.startswith("At least 4 ready jobs come before it")

    def test_the_wait_is_estimated_from_what_the_lane_did_lately(self, alice: Tenant) -> None:
        last = [make_job(alice) for _ in range(4)][-1]
        now = database_time()
        for minutes_ago, started in ((2, 30), (1, 30), (9, 10_000)):
            minute = now.replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
            LaneMinute.objects.create(
                lane_id=last.lane_id, tenant_id=alice.pk, minute=minute, started=started
            )
        gate = gates(last)["in_line"]
        assert gate.wait_seconds is not None
        assert 4 * 120 / 60 <= gate.wait_seconds <= 4 * 181 / 60
        assert f"about {gate.wait_seconds:.0f} s" in gate.text

    def test_no_wait_is_shorter_than_until_the_pace_allows_a_start(self, alice: Tenant) -> None:
        make_job(alice, Status.DONE)
        LaneMinute.objects.update(started=60_000)
        job = [make_job(alice) for _ in range(2)][-1]
        change_limits(alice, actor=ACTOR, starts_per_minute=1)
        store.claim("w", [store.Share(job.lane_id, 1)], lease_seconds=30)
        wait = gates(job)["in_line"].wait_seconds
        assert wait is not None
        assert 50 <= wait <= 60

    def test_nothing_is_estimated_where_nothing_ran_lately(self, alice: Tenant) -> None:
        make_job(alice, Status.DONE)
        LaneMinute.objects.update(minute=F("minute") - timedelta(minutes=6))
        gate = gates(make_job(alice))["in_line"]
        assert (gate.wait_seconds, gate.text) == (None, "The job is the next of its queue.")

    @pytest.mark.parametrize("shut", ["pause", "no worker"])
    def test_nothing_is_estimated_where_nothing_starts(self, alice: Tenant, shut: str) -> None:
        make_job(alice, Status.DONE)
        job = make_job(alice)
        assert gates(job)["in_line"].wait_seconds is not None
        if shut == "pause":
            set_queue_paused(alice, "default", paused=True, actor=ACTOR)
        else:
            Worker.objects.all().delete()
        assert gates(job)["in_line"].wait_seconds is None

    def test_a_long_line_is_read_by_its_index_up_to_the_bound(
        self, alice: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(place, "COUNTED_AT_MOST", 50)
        monkeypatch.setattr(place, "COUNTED_IN_EACH_LINE", 50)
        services.submit_many(alice, [NewJob(task="echo")] * 1_000)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        plans: list[str] = []

        def explained(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if "jobs_job AS own" in sql:
                plans.append(plan_of(execute, sql, params, context))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(explained):
            explain(Job.objects.order_by("pk")[500])
        (plan,) = plans
        if connection.vendor == "sqlite":
            assert "USING INDEX job_ready (lane_id=? AND line_id=?)" in plan
            assert "SCAN jobs_job" not in plan
            assert "TEMP B-TREE" not in plan
        else:
            assert "job_ready" in plan
            assert "Seq Scan on jobs_job" not in plan
            assert "Sort" not in plan
            assert "Limit (actual rows=50" in plan


def plan_of(execute: Callable[..., Any], sql: str, params: Any, context: Any) -> str:
    """The plan of a statement; on PostgreSQL with the rows that it really read."""
    is_sqlite = connection.vendor == "sqlite"
    how = "QUERY PLAN" if is_sqlite else "(ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)"
    execute(f"EXPLAIN {how} {sql}", params, False, context)
    return "\n".join(str(row[-1]) for row in context["cursor"].fetchall())


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (Status.DONE, "done"),
        (Status.CANCELLED, "cancelled"),
        (Status.DLQ, "retries exhausted"),
        (Status.RUNNING, "test-worker"),
    ],
)
def test_a_job_that_does_not_wait_has_no_gates(alice: Tenant, status: Status, word: str) -> None:
    explanation = explain(make_job(alice, status))
    assert explanation.gates == ()
    assert word in explanation.text
