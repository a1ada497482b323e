"""Every call of the client, against the application itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from jobqueue_client import (
    Client,
    Conflict,
    Forbidden,
    InvalidRequest,
    JobNotDone,
    JobUnreadable,
    Json,
    LimitReached,
    NotAuthenticated,
    NotFound,
    WaitTimeout,
)
from jobs.models import Job, Tenant
from jobs.services import change_limits
from jobs.statuses import Status
from tests.encrypted import FIRST, encrypted
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def test_submit_takes_every_option(client: Client) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    job = client.submit(
        "sleep",
        {"seconds": 1},
        queue="q",
        priority="high",
        run_at=tomorrow,
        max_retries=0,
        timeout_seconds=9,
        tags=("a", "b"),
        worker_tags=["linux"],
        idempotency_key="k",
    )
    assert (job.task, job.payload, job.queue, job.priority) == ("sleep", {"seconds": 1}, "q", 50)
    assert (job.status, job.run_at, job.max_retries) == ("SCHEDULED", tomorrow, 0)
    assert (job.timeout_seconds, job.tags, job.worker_tags) == (9, ["a", "b"], ["linux"])
    assert (job.idempotency_key, job.is_final) == ("k", False)
    assert client.get(job) == job
    assert client.submit(delay_seconds=60).status == "SCHEDULED"


def test_the_same_key_is_the_same_job_and_no_key_is_another(client: Client) -> None:
    first, again = (client.submit("echo", 1, idempotency_key="k") for _ in range(2))
    assert first.id == again.id
    assert len({client.submit("echo", 1).id for _ in range(2)}) == 2
    assert client.submit("echo", 1, idempotency_key=None).idempotency_key  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as refusal:
        client.submit("echo", 2, idempotency_key="k")
    assert (refusal.value.status, refusal.value.code) == (422, "idempotency_mismatch")


def test_json_that_is_text_is_sent_as_it_is_written(client: Client) -> None:
    job = client.submit("echo", {"exact": Json("1.10"), "ids": [Json("1e3"), "ü"]})
    assert (
        bytes(Job.objects.get(pk=job.id).payload) == '{"exact": 1.10, "ids": [1e3, "ü"]}'.encode()
    )


@pytest.mark.parametrize("payload", [object(), {1, 2}, float("nan"), "\ud800"])
def test_what_is_no_json_is_refused_here(client: Client, payload: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        client.submit("echo", payload)
    assert not Job.objects.exists()


def test_submit_many_is_all_or_none_in_order(client: Client) -> None:
    ids = client.submit_many({"task": "echo", "payload": number} for number in range(3))
    assert [client.get(job_id).payload for job_id in ids] == [0, 1, 2]
    with pytest.raises(InvalidRequest) as refusal:
        client.submit_many([{"task": "echo"}, {"task": "echo", "queue": "no name"}])
    assert refusal.value.errors[0]["pointer"] == "/jobs/1/queue"
    assert Job.objects.count() == 3


def test_list_reads_page_after_page(
    client: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue_client.operations.PAGE_SIZE", 2)
    before = datetime.now(UTC) - timedelta(hours=1)
    ids = list(client.submit_many([{"queue": "q"}] * 5))
    make_job(alice, queue="other")
    found = [
        job.id for job in client.list(queue="q", status="PENDING,RUNNING", created_after=before)
    ]
    assert found == ids[::-1]
    assert [job.id for job in client.list(3, queue="q")] == found[:3]
    assert [job.id for job in client.list(5, queue="q")] == found
    assert [job.queue for job in client.list(filter="queue:other")] == ["other"]
    assert list(client.list(task="nothing")) == []


def test_cancel_retry_and_their_refusals(client: Client, alice: Tenant) -> None:
    job = client.submit()
    assert client.cancel(job).status == "CANCELLED"
    assert client.cancel(job.id).status == "CANCELLED"
    with pytest.raises(Conflict, match="CANCELLED"):
        client.retry(job)
    dead = make_job(alice, Status.DLQ)
    assert client.retry(str(dead.pk)).status == "PENDING"


def test_dead_letters_are_listed_redriven_and_discarded(client: Client, alice: Tenant) -> None:
    dead = [make_job(alice, Status.DLQ, error_type="KeyError") for _ in range(3)]
    other = make_job(alice, Status.DLQ, error_type="OSError")
    found = list(client.dlq(error_type="KeyError"))
    assert [job.id for job in found] == [str(job.pk) for job in reversed(dead)]
    assert found[0].error and found[0].error.type == "KeyError"
    assert client.redrive([found[0], found[1].id]).count == 2
    redriven = client.redrive(error_type="KeyError")
    assert (redriven.ids, redriven.more) == ([found[2].id], False)
    client.discard(str(other.pk))
    assert list(client.dlq()) == []


def test_why_queues_metrics_pause_and_resume(client: Client) -> None:
    job = client.submit(queue="q")
    paused = client.pause("q", reason="the mail server is down")
    assert (paused.paused, paused.pause_reason) == (True, "the mail server is down")
    assert client.pause("q").pause_reason == "the mail server is down", "as it was"
    explanation = client.why(job)
    assert (explanation.status, explanation.gates[0].code) == ("PENDING", "queue_paused")
    resumed = client.resume("q")
    assert (resumed.paused, resumed.pause_reason, resumed.paused_at) == (False, None, None)
    (queue,) = client.queues()
    assert (queue.name, queue.depth["PENDING"], queue.dead) == ("q", 1, 0)
    assert client.metrics().counts["PENDING"] == 1


def test_get_tells_failed_attempts(client: Client, alice: Tenant) -> None:
    job = client.get(str(make_job(alice, Status.DLQ).pk))
    (attempt,) = job.attempts
    assert attempt.error and attempt.error.type == "ValueError"
    assert (attempt.number, attempt.outcome, attempt.finished_at.tzinfo) == (1, "failed", UTC)


def test_wait_answers_how_the_job_ended(client: Client, alice: Tenant) -> None:
    done = make_job(alice, Status.DONE, result=b'{"sum": 3}')
    assert client.wait(str(done.pk)).status == "DONE"
    assert client.result(str(done.pk)) == {"sum": 3}
    dead = make_job(alice, Status.DLQ)
    with pytest.raises(JobNotDone, match=r"is DLQ: ValueError no such thing") as caught:
        client.result(str(dead.pk), 5)
    assert caught.value.job.id == str(dead.pk)


def test_a_result_that_cannot_be_opened_is_an_error_of_its_own(
    client: Client, alice: Tenant, environment_holds: Callable[..., None]
) -> None:
    environment_holds(FIRST)
    done = make_job(encrypted(alice), Status.DONE, result=b'"a secret"')
    environment_holds()
    with pytest.raises(JobUnreadable, match="encryption_key_missing") as caught:
        client.result(str(done.pk))
    assert caught.value.code == caught.value.job.unreadable == "encryption_key_missing"


def test_wait_ends_with_the_time(client: Client) -> None:
    job = client.submit()
    with pytest.raises(TimeoutError) as caught:
        client.wait(job, 0.3)
    assert isinstance(caught.value, WaitTimeout)
    assert caught.value.job.status == "PENDING"


def test_a_strangers_job_is_as_absent_as_any(client: Client, mallory: Tenant) -> None:
    theirs = str(make_job(mallory, Status.DLQ).pk)
    for call in (client.get, client.wait, client.cancel, client.retry, client.why, client.discard):
        with pytest.raises(NotFound):
            call(theirs)
    assert list(client.list()) == []
    assert client.redrive([theirs]).count == 0


def test_keys_are_judged(
    alice: Tenant, key_of: Callable[..., str], application_transport: httpx.BaseTransport
) -> None:
    reader = Client("http://testserver", key_of(alice, "read"), transport=application_transport)
    with pytest.raises(Forbidden) as refusal:
        reader.submit()
    assert refusal.value.code == "insufficient_scope"
    nobody = Client("http://testserver", "jq_nobody", transport=application_transport)
    with pytest.raises(NotAuthenticated):
        nobody.metrics()


def test_a_limit_that_opens_too_late_is_told_at_once(client: Client, alice: Tenant) -> None:
    change_limits(alice, actor="command:test", submissions_per_minute=1)
    client.submit()
    client.patience = type(client.patience)(give_up_after_seconds=0.1)
    with pytest.raises(LimitReached) as refusal:
        client.submit()
    assert refusal.value.code == "rate_limited"
    assert refusal.value.retry_after_seconds and refusal.value.retry_after_seconds > 1
