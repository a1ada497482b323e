"""Use cases: what they refuse, what they write down, and that both happen together."""

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.test import override_settings

from jobs import services, store, wakeup
from jobs.errors import (
    IdempotencyMismatch,
    InvalidInput,
    JobNotFound,
    QueueFull,
    QueueNotFound,
    StatusConflict,
    TenantInactive,
    TooManyRequests,
)
from jobs.models import AuditEntry, Job, JobTag, Lane, LaneMinute, SubmissionSecond, Tenant
from jobs.statuses import TERMINAL, WAITING, Status
from jobs.submission import NewJob
from tests.store.steps import job_in, lane_of, row, status_of

pytestmark = pytest.mark.django_db
ACTOR = "user:olga"
ECHO = NewJob(task="echo")


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each time that the workers were woken."""
    calls: list[bool] = []
    monkeypatch.setattr(wakeup, "signal", lambda: calls.append(True))
    return calls


def actions() -> list[tuple[str, str]]:
    return list(AuditEntry.objects.order_by("id").values_list("actor", "action"))


class TestSubmit:
    def test_jobs_are_accepted_and_the_workers_woken_after_the_commit(
        self, alice: Tenant, woken: list[bool], django_capture_on_commit_callbacks: Callable
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            submitted = services.submit_many(alice, [ECHO, ECHO])
            assert woken == []
        assert [Job.objects.filter(pk=one.job_id).exists() for one in submitted] == [True, True]
        assert woken == [True]

    def test_nothing_is_accepted_as_nothing(self, alice: Tenant) -> None:
        assert services.submit_many(alice, []) == []

    def test_repeated_submission_wakes_nobody_and_spends_nothing(
        self,
        make_tenant: Callable[..., Tenant],
        woken: list[bool],
        django_capture_on_commit_callbacks: Callable,
    ) -> None:
        tenant = make_tenant("limited", submissions_per_minute=1, max_pending=1)
        keyed = NewJob(task="echo", idempotency_key="k")
        services.submit(tenant, keyed)
        with django_capture_on_commit_callbacks(execute=True):
            assert not services.submit(tenant, keyed).created
        assert (woken, SubmissionSecond.objects.get().submitted) == ([], 1)

    def test_job_is_not_there_without_its_tags(
        self, alice: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*rows: object, **options: object) -> None:
            raise DatabaseError("the connection was cut")

        monkeypatch.setattr(JobTag.objects, "bulk_create", fail)
        with pytest.raises(DatabaseError):
            services.submit(alice, NewJob(task="echo", tags=("red",)))
        assert not Job.objects.exists()

    def test_tenant_that_is_switched_off_is_refused(self, alice: Tenant) -> None:
        alice.is_active = False
        with pytest.raises(TenantInactive):
            services.submit(alice, ECHO)

    def test_too_many_at_once_are_refused(self, alice: Tenant) -> None:
        with override_settings(JOBQUEUE={"max_bulk_jobs": 2}), pytest.raises(InvalidInput):
            services.submit_many(alice, [ECHO] * 3)

    def test_mismatch_says_which_and_undoes_the_others(self, alice: Tenant) -> None:
        services.submit(alice, NewJob(task="echo", idempotency_key="k", request_hash="a"))
        other = NewJob(task="echo", idempotency_key="k", request_hash="b")
        with pytest.raises(IdempotencyMismatch) as caught:
            services.submit_many(alice, [ECHO, other])
        assert caught.value.extra == {"index": 1}
        assert Job.objects.count() == 1

    def test_rate_refuses_with_the_time_to_wait_and_undoes_all(
        self, make_tenant: Callable[..., Tenant]
    ) -> None:
        tenant = make_tenant("limited", submissions_per_minute=3)
        services.submit_many(tenant, [ECHO] * 2)
        with pytest.raises(TooManyRequests) as caught:
            services.submit_many(tenant, [ECHO] * 2)
        assert 0 < caught.value.retry_after <= 61
        assert (caught.value.limit, Job.objects.count()) == (3, 2)

    def test_rate_refuses_before_anything_is_written(
        self, make_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tenant = make_tenant("limited", submissions_per_minute=3)
        services.submit_many(tenant, [ECHO] * 3)
        inserted: list[object] = []
        monkeypatch.setattr(store, "insert_jobs", lambda *job: inserted.append(job))
        with pytest.raises(TooManyRequests):
            services.submit(tenant, ECHO)
        assert inserted == []

    def test_repeated_key_is_answered_though_the_rate_is_spent(
        self, make_tenant: Callable[..., Tenant]
    ) -> None:
        tenant = make_tenant("limited", submissions_per_minute=2)
        keyed = [NewJob(task="echo", idempotency_key=key) for key in ("a", "b")]
        services.submit_many(tenant, keyed)
        repeated = services.submit_many(tenant, keyed * 2)
        assert not any(one.created for one in repeated)

    @pytest.mark.parametrize("key", [None, "k"])
    def test_more_at_once_than_the_rate_allows_is_not_told_to_try_again(
        self, make_tenant: Callable[..., Tenant], key: str | None
    ) -> None:
        tenant = make_tenant("limited", submissions_per_minute=3)
        jobs = [NewJob(task="echo", idempotency_key=key and f"{key}{n}") for n in range(4)]
        with pytest.raises(InvalidInput, match="never") as caught:
            services.submit_many(tenant, jobs)
        assert (caught.value.field_code, Job.objects.count()) == ("more_than_limit", 0)

    def test_full_queue_refuses_and_undoes_all(self, make_tenant: Callable[..., Tenant]) -> None:
        tenant = make_tenant("limited", max_pending=3, submissions_per_minute=100)
        services.submit_many(tenant, [ECHO] * 2)
        with pytest.raises(QueueFull):
            services.submit_many(tenant, [ECHO] * 2)
        assert (Job.objects.count(), SubmissionSecond.objects.get().submitted) == (2, 2)

    def test_running_jobs_do_not_fill_the_queue(self, make_tenant: Callable[..., Tenant]) -> None:
        tenant = make_tenant("limited", max_pending=1)
        job_in(Status.RUNNING, tenant)
        assert services.submit(tenant, ECHO).created


class TestActsOnOneJob:
    @pytest.mark.parametrize("status", sorted(WAITING | {Status.RUNNING}))
    def test_cancel_applies_and_is_written_down(self, alice: Tenant, status: Status) -> None:
        job = services.cancel(Job.objects.get(pk=job_in(status, alice)), actor=ACTOR)
        assert job.status == (status if status is Status.RUNNING else Status.CANCELLED)
        assert (job.cancel_requested, actions()) == (True, [(ACTOR, "cancel")])

    def test_cancel_of_a_cancelled_job_changes_nothing(self, alice: Tenant) -> None:
        job_id = job_in(Status.CANCELLED, alice)
        before = row(job_id)
        services.cancel(Job.objects.get(pk=job_id), actor=ACTOR)
        assert (row(job_id), actions()) == (before, [])

    @pytest.mark.parametrize("status", sorted(TERMINAL - {Status.CANCELLED}))
    def test_cancel_of_an_ended_job_is_a_conflict(self, alice: Tenant, status: Status) -> None:
        with pytest.raises(StatusConflict, match=status):
            services.cancel(Job.objects.get(pk=job_in(status, alice)), actor=ACTOR)
        assert actions() == []

    @pytest.mark.parametrize("status", sorted(Status))
    def test_retry_applies_to_failed_and_dead_jobs(self, alice: Tenant, status: Status) -> None:
        job = Job.objects.get(pk=job_in(status, alice))
        if status in {Status.FAILED, Status.DLQ}:
            assert services.retry(job, actor=ACTOR).status == Status.PENDING
            assert actions() == [(ACTOR, "retry")]
        else:
            with pytest.raises(StatusConflict):
                services.retry(job, actor=ACTOR)

    @pytest.mark.parametrize("act", [services.cancel, services.retry])
    def test_job_that_is_gone_is_not_found(self, alice: Tenant, act: Callable) -> None:
        job = Job.objects.get(pk=job_in(Status.DONE, alice))
        Job.objects.all().delete()
        with pytest.raises(JobNotFound):
            act(job, actor=ACTOR)

    @pytest.mark.parametrize(
        ("act", "status"),
        [
            (services.cancel, Status.PENDING),
            (services.retry, Status.FAILED),
            (services.retry, Status.DLQ),
        ],
    )
    def test_nothing_happens_that_cannot_be_written_down(
        self, alice: Tenant, monkeypatch: pytest.MonkeyPatch, act: Callable, status: Status
    ) -> None:
        job = Job.objects.get(pk=job_in(status, alice))

        def fail(*args: object, **details: object) -> None:
            raise OSError("the audit log is full")

        monkeypatch.setattr(services, "audit", fail)
        with pytest.raises(OSError, match="full"):
            act(job, actor=ACTOR)
        assert status_of(job.pk) == status


class TestDeadLetters:
    def test_redrive_and_discard_answer_and_write_down_what_they_did(self, alice: Tenant) -> None:
        dead = [job_in(Status.DLQ, alice) for _ in range(2)]
        done = job_in(Status.DONE, alice)
        assert services.redrive([dead[0], done], actor=ACTOR, tenant=alice) == [dead[0]]
        assert services.discard([dead[1], done], actor=ACTOR, tenant=alice) == [dead[1]]
        assert actions() == [(ACTOR, "redrive"), (ACTOR, "discard")]

    def test_acts_on_nothing_are_not_written_down(self, alice: Tenant) -> None:
        done = [job_in(Status.DONE, alice)]
        assert services.redrive(done, actor=ACTOR, tenant=alice) == []
        assert services.discard(done, actor=ACTOR, tenant=alice) == []
        assert actions() == []

    def test_payload_is_edited_for_one_job_at_a_time(self, alice: Tenant) -> None:
        dead = [job_in(Status.DLQ, alice) for _ in range(2)]
        with pytest.raises(InvalidInput):
            services.redrive(dead, actor=ACTOR, tenant=alice, payload=b"1")
        services.redrive(dead[:1], actor=ACTOR, tenant=alice, payload=b"[1]")
        assert row(dead[0])["payload"] == b"[1]"
        assert AuditEntry.objects.get().details["edited"] is True


class TestSettings:
    def test_pause_and_resume_are_written_down(self, alice: Tenant) -> None:
        lane_of(alice)
        for paused in (True, False):
            lane = services.set_queue_paused(alice, "default", paused=paused, actor=ACTOR)
            assert lane.is_paused is paused
        assert actions() == [(ACTOR, "pause"), (ACTOR, "resume")]

    def test_queue_of_another_tenant_is_not_found(self, alice: Tenant, mallory: Tenant) -> None:
        lane_of(alice)
        with pytest.raises(QueueNotFound):
            services.set_queue_paused(mallory, "default", paused=True, actor=ACTOR)
        assert not Lane.objects.get().is_paused

    def test_change_of_limits_keeps_before_and_after(self, alice: Tenant) -> None:
        services.change_limits(alice, actor=ACTOR, max_running=7, weight=2)
        entry = AuditEntry.objects.get()
        assert entry.details == {
            "before": {"max_running": None, "weight": 1},
            "after": {"max_running": 7, "weight": 2},
        }
        alice.refresh_from_db()
        assert (alice.max_running, alice.weight) == (7, 2)

    @pytest.mark.parametrize("change", [{"weight": 0}, {"weight": 1_001}, {"max_running": -1}])
    def test_impossible_limits_are_refused(self, alice: Tenant, change: dict[str, int]) -> None:
        with pytest.raises(ValidationError):
            services.change_limits(alice, actor=ACTOR, **change)
        assert actions() == []


class TestDeleteTenant:
    def test_tenant_without_jobs_goes_with_all_that_was_its(
        self, make_tenant: Callable[..., Tenant], alice: Tenant
    ) -> None:
        tenant = make_tenant("limited", submissions_per_minute=5)
        for one in (tenant, alice):
            services.cancel(Job.objects.get(pk=services.submit(one, ECHO).job_id), actor=ACTOR)
        Job.objects.filter(tenant=tenant).delete()
        services.change_limits(tenant, actor=ACTOR, is_active=False)
        tenant_id = tenant.pk
        services.delete_tenant(tenant, actor=ACTOR)
        for model in (Lane, LaneMinute, SubmissionSecond):
            assert not model.objects.filter(tenant_id=tenant_id).exists()
        assert list(Tenant.objects.all()) == [alice]
        assert LaneMinute.objects.filter(tenant_id=alice.pk).exists()
        assert actions()[-1] == (ACTOR, "delete_tenant")

    @pytest.mark.parametrize("status", sorted(Status))
    def test_tenant_with_a_job_stays(self, alice: Tenant, status: Status) -> None:
        job_in(status, alice)
        services.change_limits(alice, actor=ACTOR, is_active=False)
        with pytest.raises(StatusConflict):
            services.delete_tenant(alice, actor=ACTOR)
        assert (Tenant.objects.count(), Lane.objects.count()) == (1, 1)

    def test_tenant_that_is_on_stays(self, alice: Tenant) -> None:
        stale = Tenant.objects.get(pk=alice.pk)
        stale.is_active = False
        with pytest.raises(StatusConflict):
            services.delete_tenant(stale, actor=ACTOR)
        assert Tenant.objects.exists()
