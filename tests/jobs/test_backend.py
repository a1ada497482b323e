"""Django's Tasks interface on top of jobs: its contract, and what is ours beyond it."""

import json
import pickle
from typing import Any

import pytest
from django.test import override_settings

from jobs import store
from jobs.errors import IdempotencyMismatch, TenantInactive
from jobs.models import Job, JobTag, Tenant
from jobs.statuses import Status
from jobs.store import Lease
from jobs.tasks import echo
from jobs.tasksapi import TaskResult, TaskResultDoesNotExist, TaskResultStatus, default_task_backend
from tests.jobs.sample_tasks import add, demanding, picky, whole
from tests.jobs.tasks_contract import AsyncTasksContract, TasksContract
from tests.store.steps import claim, expire, finish, job_in, make_due, no_delay

pytestmark = pytest.mark.django_db


def job_of(result: TaskResult) -> Job:
    return Job.objects.get(pk=result.id)


def claim_of(result: TaskResult) -> store.ClaimedJob:
    (claimed,) = claim(job_of(result).lane)
    return claimed


class TestOurBackend(TasksContract):
    def succeed(self, result: TaskResult, value: Any) -> None:
        finish(claim_of(result), Status.DONE, result=json.dumps(value).encode())

    def fail_for_good(self, result: TaskResult, error: str) -> None:
        traceback = "Traceback (most recent call last): …"
        finish(claim_of(result), Status.DLQ, error_type=error, traceback=traceback)


@pytest.mark.django_db(transaction=True)
class TestOurBackendAsync(AsyncTasksContract):
    pass


STATUSES = {
    Status.SCHEDULED: TaskResultStatus.READY,
    Status.BLOCKED: TaskResultStatus.READY,
    Status.PENDING: TaskResultStatus.READY,
    Status.FAILED: TaskResultStatus.READY,
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.DONE: TaskResultStatus.SUCCESSFUL,
    Status.DLQ: TaskResultStatus.FAILED,
    Status.CANCELLED: TaskResultStatus.FAILED,
}


@pytest.mark.parametrize("status", sorted(Status))
def test_every_status_has_a_word_of_the_interface(alice: Tenant, status: Status) -> None:
    job_id = job_in(status, alice, task="tests.jobs.sample_tasks.add", payload=b'{"a": 1}')
    assert default_task_backend.get_result(str(job_id)).status == STATUSES[status]


def test_job_carries_the_options_of_the_task() -> None:
    result = demanding.using(tags=("red",)).enqueue(size=3)
    job = job_of(result)
    assert (job.task, job.queue, job.priority) == ("tests.jobs.sample_tasks.demanding", "slow", 5)
    assert (job.max_retries, job.timeout_seconds) == (7, 2.5)
    assert JobTag.objects.get().tag == "red"


def test_job_needs_the_worker_tags_of_its_task_or_of_the_call() -> None:
    assert job_of(picky.enqueue()).worker_tags == "gpu,linux"
    result = picky.using(worker_tags=("arm",)).enqueue()
    assert job_of(result).worker_tags == "arm"
    assert picky.get_result(result.id).task.worker_tags == ("arm",)


def test_task_without_a_tenant_belongs_to_the_default_one_without_limits() -> None:
    job = job_of(add.enqueue(1))
    assert (job.tenant.slug, job.tenant.max_running) == ("default", None)
    assert job.tenant.submissions_per_minute is None


def test_an_installation_names_the_tenant_of_tasks_that_name_none(alice: Tenant) -> None:
    for slug in ("solo", "alice"):
        with override_settings(TASKS=_tasks(OPTIONS={"tenant": slug})):
            assert job_of(add.enqueue(1)).tenant.slug == slug
    assert not Tenant.objects.filter(slug="default").exists()


def test_task_belongs_to_the_tenant_it_names(alice: Tenant) -> None:
    assert job_of(add.using(tenant="alice").enqueue(1)).tenant == alice


def test_tenant_that_is_switched_off_is_refused(alice: Tenant) -> None:
    Tenant.objects.update(is_active=False)
    with pytest.raises(TenantInactive):
        add.using(tenant="alice").enqueue(1)


def test_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError):
        add.using(colour="red")


class TestIdempotency:
    def test_same_call_under_a_key_is_the_same_job(self) -> None:
        task = add.using(idempotency_key="k")
        first, second = task.enqueue(1, b=2), task.enqueue(1, b=2)
        assert (first.id, Job.objects.count()) == (second.id, 1)

    @pytest.mark.parametrize(("args", "kwargs"), [((2,), {}), ((1,), {"b": 1}), ((), {"a": 1})])
    def test_other_arguments_under_a_key_are_a_mismatch(self, args: Any, kwargs: Any) -> None:
        task = add.using(idempotency_key="k")
        task.enqueue(1)
        with pytest.raises(IdempotencyMismatch):
            task.enqueue(*args, **kwargs)

    def test_other_task_under_a_key_is_a_mismatch(self) -> None:
        add.using(idempotency_key="k").enqueue(a=1)
        with pytest.raises(IdempotencyMismatch):
            demanding.using(idempotency_key="k").enqueue(a=1)

    def test_order_of_keyword_arguments_does_not_matter(self) -> None:
        task = demanding.using(idempotency_key="k")
        assert task.enqueue(a=1, b=2).id == task.enqueue(b=2, a=1).id

    def test_repeated_call_is_answered_with_how_the_job_stands(self) -> None:
        task = add.using(idempotency_key="k")
        finish(claim_of(task.enqueue(1)), Status.DONE, result=b"1")
        assert task.enqueue(1).return_value == 1


class TestPayload:
    def test_keyword_arguments_are_the_payload_as_rest_would_send_it(self) -> None:
        job = job_of(add.enqueue(a=1, b="ä"))
        assert (bytes(job.payload), job.has_args) == ('{"a": 1, "b": "ä"}'.encode(), False)

    @pytest.mark.parametrize("payload", [None, 5, [1], {"args": [1]}, {"payload": 1}])
    def test_whole_payload_is_stored_as_it_is(self, payload: Any) -> None:
        for result in (whole.enqueue(payload), whole.enqueue(payload=payload)):
            job = job_of(result)
            assert (json.loads(bytes(job.payload)), job.has_args) == (payload, False)
            assert whole.get_result(result.id).args == [payload]

    def test_echo_from_python_gets_what_echo_over_rest_gets(self) -> None:
        assert bytes(job_of(echo.enqueue({"a": 1})).payload) == b'{"a": 1}'

    def test_task_of_one_payload_takes_no_more(self) -> None:
        with pytest.raises(TypeError):
            whole.enqueue(1, 2)


class TestHistory:
    def test_result_is_readable_after_its_queue_is_no_longer_allowed(self) -> None:
        result = add.using(queue_name="old").enqueue(1)
        with override_settings(TASKS=_tasks(QUEUES=["default"])):
            read = default_task_backend.get_result(result.id)
        assert read.task.queue_name == "old"

    def test_result_of_a_task_that_was_removed_does_not_exist(self, alice: Tenant) -> None:
        job_id = job_in(Status.DONE, alice, task="shop.tasks.removed")
        with pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(str(job_id))

    def test_failed_attempts_are_errors_while_the_next_one_waits(self) -> None:
        result = add.enqueue(1)
        finish(claim_of(result), Status.FAILED, error_type="builtins.KeyError", traceback="tb")
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
        assert [error.exception_class for error in result.errors] == [KeyError]

    def test_every_attempt_counts(self) -> None:
        result = add.enqueue(1)
        attempts = []
        for status in (Status.FAILED, Status.DLQ, Status.DONE):
            claimed = claim_of(result)
            result.refresh()
            attempts.append(result.attempts)
            finish(claimed, status)
            make_due([claimed.id])
            store.promote()
            store.redrive([claimed.id])
        result.refresh()
        assert (attempts, result.attempts) == ([1, 2, 3], 3)

    def test_attempt_given_back_does_not_count(self) -> None:
        result = add.enqueue(1)
        finish(claim_of(result), Status.FAILED)
        store.retry([job_of(result).pk])
        claimed = claim_of(result)
        store.release([Lease(claimed.id, claimed.fence)])
        result.refresh()
        assert result.attempts == 1
        assert result.last_attempted_at == result.started_at is not None

    def test_first_start_is_the_start(self) -> None:
        result = add.enqueue(1)
        finish(claim_of(result), Status.FAILED)
        result.refresh()
        first = result.started_at
        store.retry([job_of(result).pk])
        claim_of(result)
        result.refresh()
        assert result.started_at == first <= result.last_attempted_at

    def test_cancelled_job_failed_with_an_error_that_says_so(self) -> None:
        result = add.enqueue(1)
        store.cancel([job_of(result).pk])
        result.refresh()
        assert result.errors[-1].exception_class.__name__ == "JobCancelled"

    def test_lost_attempt_has_an_error_that_can_be_imported(self) -> None:
        result = add.enqueue(1)
        expire([claim_of(result).id])
        store.reap("reaper", no_delay)
        result.refresh()
        (error,) = result.errors
        assert issubclass(error.exception_class, Exception)
        assert "lease" in error.traceback

    def test_refresh_asks_the_backend_that_gave_the_result(self) -> None:
        result = add.enqueue(1)
        with override_settings(TASKS=_tasks() | {"second": _tasks()["default"]}):
            read = add.using(backend="second").get_result(result.id)
            assert read.backend == read.task.backend == "second"


def _tasks(**changes: Any) -> dict[str, Any]:
    backend = {"BACKEND": "jobs.backend.JobQueueBackend", "QUEUES": [], "OPTIONS": {}}
    return {"default": backend | changes}


def test_task_can_be_pickled_with_its_options() -> None:
    task = demanding.using(priority=-3, tags=("red",))
    assert pickle.loads(pickle.dumps(task)) == task
