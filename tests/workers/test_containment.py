"""What users' code does wrong costs its own job, never a slot."""

import itertools
from contextvars import Context, copy_context

import pytest
from django.core.cache import caches
from django.db import connection, transaction

from jobs.models import Tenant
from jobs.statuses import Reason, Status
from tests.harness import running_workers
from tests.store.steps import claim_one, together
from tests.workers.conftest import Submit, wait_for
from workers import attempt, executor, outcomes

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_ending_that_cannot_be_concluded_frees_its_slot(submit: Submit) -> None:
    errors = {
        "return_circle": "builtins.RecursionError",
        "raise_unprintable": "tests.workers.tasks.Unprintable",
        "fail_with_broken_backoff": "ZeroDivisionError",
        "fail_in_thread_with_broken_backoff": "ZeroDivisionError",
    }
    jobs = [(submit(task, max_retries=1), error) for task, error in errors.items() for _ in "abc"]
    after = submit("echo")
    with running_workers("--concurrency", "2", promote_interval_seconds=0.1):
        for job, error in jobs:
            wait_for(job, "FAILED", "DLQ")
            assert job.attempts.first().error_type == error
        wait_for(after, "DONE")


def test_threads_and_the_loop_share_the_slots(submit: Submit) -> None:
    jobs = [submit("sleep", b'{"seconds": 0.3}') for _ in range(4)]
    with running_workers("--concurrency", "1"):
        done = sorted((wait_for(job, "DONE") for job in jobs), key=lambda job: job.finished_at)
    gaps = [
        (later.finished_at - earlier.finished_at).total_seconds()
        for earlier, later in itertools.pairwise(done)
    ]
    assert min(gaps) > 0.2, "one after the other"


def test_a_task_that_catches_exceptions_is_stopped_all_the_same(submit: Submit) -> None:
    job = submit("swallow_exceptions", timeout_seconds=0.3, max_retries=0)
    with running_workers() as (worker,):
        (process,) = worker.worker_ids()
        wait_for(job, "DLQ")
        assert worker.worker_ids() == [process], "it did not cost its process"


@pytest.mark.parametrize(
    ("max_retries", "ending"),
    [(0, (Status.DLQ, Reason.RETRIES_EXHAUSTED)), (1, (Status.FAILED, None))],
)
def test_an_attempt_that_cannot_be_concluded_counts_as_every_other(
    alice: Tenant, max_retries: int, ending: tuple[Status, Reason | None]
) -> None:
    job = claim_one(alice, max_retries=max_retries)
    outcome = outcomes.of_breakdown(job, RuntimeError("odd"), 1)
    assert (outcome.status, outcome.reason) == ending


def test_a_job_that_leaves_a_transaction_open_does_not_leave_it_to_the_next() -> None:
    def leave_one_open() -> tuple[bool, bool]:
        transaction.atomic().__enter__()
        before = connection.in_atomic_block
        executor._tidy_connections()
        return before, connection.in_atomic_block

    assert together([leave_one_open]) == [(True, False)]


def test_jobs_of_a_thread_share_its_caches() -> None:
    """Each with a context of its own, they would otherwise connect for every job."""

    def of_two_jobs() -> list[object]:
        attempt.prepare_thread()
        return [copy_context().run(lambda: caches["default"]) for _ in "ab"]

    first, second = Context().run(of_two_jobs)
    assert first is second


def test_what_a_job_leaves_in_its_context_no_other_finds(submit: Submit) -> None:
    """The next job in its slot may be another tenant's."""
    tasks = ("leave_in_thread", "leave_on_loop", "leave_in_child")
    jobs = [submit(task, b'{"name": "somebody"}') for task in tasks for _ in "abc"]
    with running_workers("--concurrency", "1"):
        found = [(job.task, bytes(wait_for(job, "DONE").result)) for job in jobs]
    assert {result for _, result in found} == {b'"nobody"'}, found
