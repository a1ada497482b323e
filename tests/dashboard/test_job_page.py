"""The page of one job: running it once more, reading its tracebacks, the last runs of its task."""

import json
import re
import shlex
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard.queries.task_runs import task_runs
from dashboard.traceback_text import parts
from jobs import services, store
from jobs.job_request import read_job
from jobs.models import Job, Tenant
from jobs.statuses import Reason, Status
from tests.factories import make_job

EXACT = b'{"big": 123456789012345678901234567890, "exact": 1.10, "e": 1e2}'
TRACEBACK = """Traceback (most recent call last):
  File "/srv/queue/workers/attempt.py", line 60, in run
    value = task.func(*args, **kwargs)
            ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/shop/mail.py", line 31, in send_receipt
    answer = mailer.send(order)
  File "/srv/.venv/lib/python3.11/site-packages/httpx/_client.py", line 10, in send
    raise ConnectError("no answer")
  File "/srv/.venv/lib/python3.11/site-packages/httpx/_pool.py", line 20, in send
    raise ConnectError("no answer")
  [Previous line repeated 3 more times]
httpx.ConnectError: no answer
"""


def form_of(client: Client, job: Job) -> Any:
    return client.get(reverse("submit"), {"like": str(job.pk)})


def given(form: Any, **changes: Any) -> dict[str, Any]:
    """What a browser would send."""
    values = {field.name: field.value() for field in form}
    return {name: value for name, value in (values | changes).items() if value is not None}


@pytest.mark.django_db
def test_a_copy_is_what_the_job_was_to_the_last_digit(ann: Client, alice: Tenant) -> None:
    job = make_job(
        alice,
        payload=EXACT,
        queue="mail",
        priority=7,
        tags=("vip", "eu"),
        max_retries=1,
        timeout_seconds=9.0,
        worker_tags=("gpu",),
    )
    assert (
        f"{reverse('submit')}?like={job.pk}"
        in ann.get(reverse("job", args=[job.pk])).content.decode()
    )
    form = form_of(ann, job).context["form"]
    answer = ann.post(f"{reverse('submit')}?like={job.pk}", given(form))
    copy = Job.objects.exclude(pk=job.pk).get()
    assert answer["Location"] == reverse("job", args=[copy.pk])
    same = ("task", "queue", "priority", "tags", "max_retries", "timeout_seconds", "worker_tags")
    assert {name: getattr(copy, name) for name in same} == {x: getattr(job, x) for x in same}
    assert bytes(copy.payload) == EXACT
    assert Job.objects.filter(status="PENDING").count() == 2


@pytest.mark.django_db
def test_what_is_edited_is_what_runs_and_when(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE, payload=EXACT)
    form = form_of(ann, job).context["form"]
    soon = (timezone.now() + timedelta(days=30)).replace(microsecond=0)
    edited = given(
        form, payload='{"exact": 1.20}', queue="other", run_at=f"{soon:%Y-%m-%dT%H:%M:%S}"
    )
    ann.post(f"{reverse('submit')}?like={job.pk}", edited)
    copy = Job.objects.exclude(pk=job.pk).get()
    assert (bytes(copy.payload), copy.queue) == (b'{"exact": 1.20}', "other")
    assert (copy.status, copy.run_at) == ("SCHEDULED", soon)


@pytest.mark.django_db
def test_a_delay_and_a_time_exclude_each_other(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE)
    form = form_of(ann, job).context["form"]
    soon = timezone.now() + timedelta(days=1)
    both = given(form, delay_seconds="5", run_at=f"{soon:%Y-%m-%dT%H:%M:%S}")
    answer = ann.post(f"{reverse('submit')}?like={job.pk}", both)
    assert answer.status_code == 400
    assert "run_at or delay_seconds, not both" in answer.content.decode()
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_only_who_may_read_and_act_may_copy(
    viewer: Client, stranger: Client, ann: Client, alice: Tenant
) -> None:
    job = make_job(alice, Status.DONE)
    assert form_of(viewer, job).status_code == 403
    assert form_of(stranger, job).status_code == 404
    assert ann.get(reverse("submit"), {"like": "nonsense"}).status_code == 404
    assert "like=" not in viewer.get(reverse("job", args=[job.pk])).content.decode()


@pytest.mark.django_db
def test_what_only_python_may_call_is_not_copied(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE, task="tests.workers.tasks.note")
    assert form_of(ann, job).status_code == 404
    assert "like=" not in ann.get(reverse("job", args=[job.pk])).content.decode()


def curl_of(client: Client, job: Job) -> str:
    """What "Copy as curl" copies; empty if it is not offered."""
    page = client.get(reverse("job", args=[job.pk])).text
    assert ("Copy as curl</button>" in page) == ('id="job-curl"' in page)
    return unescape(page.partition('id="job-curl" hidden>')[2].partition("</pre>")[0])


@pytest.mark.django_db
def test_curl_asks_for_all_that_the_task_would_not_give(ann: Client, alice: Tenant) -> None:
    fields = {"queue": "mail", "priority": 7, "max_retries": 1, "timeout_seconds": 9.0}
    job = make_job(
        alice,
        payload=b'{"exact": 1.10, "who": "it\'s"}',
        tags=("vip", "eu"),
        worker_tags=("gpu",),
        idempotency_key="only-once",
        **fields,
    )
    command = curl_of(ann, job)
    assert "1.10" in command
    body = json.loads(shlex.split(command)[-1])
    assert body.pop("payload") == {"exact": 1.1, "who": "it's"}
    assert body == {"task": "echo", "tags": ["vip", "eu"], "worker_tags": ["gpu"], **fields}


@pytest.mark.django_db
@pytest.mark.parametrize("task", ["echo", "remote:resize"])
def test_curl_leaves_out_what_is_usual(ann: Client, alice: Tenant, task: str) -> None:
    job = Job.objects.get(pk=services.submit(alice, read_job({"task": task}, alice)).job_id)
    assert json.loads(shlex.split(curl_of(ann, job))[-1]) == {"task": task, "payload": None}


@pytest.mark.django_db
def test_curl_is_not_offered_for_what_rest_refuses(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, task="tests.workers.tasks.note")
    assert curl_of(ann, job) == ""
    assert "as curl" not in ann.get(reverse("job", args=[job.pk])).text


@pytest.mark.django_db
def test_it_is_said_why_a_large_payload_has_no_curl(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, payload=b'"' + b"x" * 8_000 + b'"')
    assert curl_of(ann, job) == ""
    assert (
        "No “Copy as curl”: its payload is larger than"
        in ann.get(reverse("job", args=[job.pk])).text
    )


def test_frames_of_libraries_are_folded_and_nothing_is_lost() -> None:
    found = parts(TRACEBACK)
    assert "".join(part.text for part in found) == TRACEBACK
    assert [part.frames for part in found] == [0, 1, 0, 2, 0]
    assert "send_receipt" in found[2].text
    assert found[4].text == "httpx.ConnectError: no answer\n"


@pytest.mark.parametrize("text", ["", "no traceback", "Traceback …\nError: x", '  File "a'])
def test_any_text_stays_as_it_is(text: str) -> None:
    assert "".join(part.text for part in parts(text)) == text
    assert not any(part.frames for part in parts(text))


@pytest.mark.django_db
@pytest.mark.parametrize("reason", Reason)
def test_a_dead_letter_says_why_it_is_one(ann: Client, alice: Tenant, reason: Reason) -> None:
    job = make_job(alice, Status.DLQ, reason=reason)
    page = ann.get(reverse("job", args=[job.pk])).text
    assert f"failed for good, {reason.replace('_', ' ')}" in page
    assert "used up its attempts" not in page


@pytest.mark.django_db
def test_the_page_folds_tracebacks(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, traceback=TRACEBACK)
    page = ann.get(reverse("job", args=[job.pk])).content.decode()
    assert "2 frames of libraries" in page
    assert "send_receipt" in page


@pytest.mark.django_db
def test_the_last_runs_are_those_of_the_task_and_tenant(
    ann: Client, alice: Tenant, mallory: Tenant
) -> None:
    job = make_job(alice, Status.DONE)
    assert task_runs(job) is None
    other = make_job(alice, Status.DLQ)
    make_job(alice, Status.DONE, task="sleep", queue="other")
    make_job(mallory, Status.DONE)
    make_job(alice, Status.RUNNING)
    runs = task_runs(job)
    assert runs is not None
    assert [(dot.job_id, dot.status) for dot in runs.dots] == [(job.pk, "DONE"), (other.pk, "DLQ")]
    page = ann.get(reverse("job", args=[job.pk])).content.decode()
    assert "Last runs of echo" in page


@pytest.mark.django_db
def test_runs_have_percentiles_and_a_scale(ann: Client, alice: Tenant) -> None:
    start = timezone.now() - timedelta(hours=1)
    for seconds in range(1, 21):
        job = make_job(alice, Status.DONE)
        ended = {"started_at": start, "finished_at": start + timedelta(seconds=seconds)}
        Job.objects.filter(pk=job.pk).update(**ended)
    job.refresh_from_db()
    runs = task_runs(job)
    assert runs is not None
    told = (runs.shortest, runs.p50.seconds, runs.p95.seconds, runs.longest)
    assert told == (1, 10, 19, 20)
    assert runs.dots[-1].y < runs.p95.y < runs.p50.y < runs.dots[0].y
    page = ann.get(reverse("job", args=[job.pk])).text
    assert "p50 10 s, p95 19 s of the last 20" in page
    assert "<small>20 s</small> <small>1.0 s</small>" in page


MESSAGE = "order 17 is gone"
ENDED = f"Traceback (most recent call last):\n  …\nLookupError: {MESSAGE}\n"


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.DLQ, Status.FAILED])
def test_an_error_comes_first_and_is_told_once(ann: Client, alice: Tenant, status: Status) -> None:
    error = {"error_type": "LookupError", "error_message": MESSAGE, "traceback": ENDED}
    page = ann.get(reverse("job", args=[make_job(alice, status, **error).pk])).text

    shown = re.sub(r"<pre[^>]* hidden>.*?</pre>", "", page, flags=re.DOTALL)
    assert shown.count(MESSAGE) == 1
    assert page.index('id="attempts"') < page.index('id="timeline"') < page.index('id="payload"')


@pytest.mark.django_db
def test_the_attempt_that_succeeded_has_its_place_among_the_others(
    ann: Client, alice: Tenant
) -> None:
    job = make_job(alice, Status.FAILED)
    services.retry(job, actor="user:ann")
    (claimed,) = store.claim("w2", [store.Share(job.lane_id, 1)], lease_seconds=30)
    running = ann.get(reverse("job", args=[job.pk])).context["job"]
    whose: Any = {"lane_id": job.lane_id, "tenant_id": alice.pk, "status": Status.DONE}
    store.finish("w2", [store.Outcome(job_id=job.pk, fence=claimed.fence, **whose)])
    done = ann.get(reverse("job", args=[job.pk]))

    told = [(one.number, one.outcome, one.worker) for one in done.context["job"]["attempts"]]
    assert told == [(2, "succeeded", "w2"), (1, "failed", "test-worker")]
    assert [one.outcome for one in running["attempts"]] == ["running", "failed"]
    assert done.text.index('id="payload"') < done.text.index('id="attempts"')


@pytest.mark.django_db
def test_only_a_job_that_may_leave_a_result_is_said_to_have_left_none(
    ann: Client, alice: Tenant
) -> None:
    def page(status: Status, **fields: Any) -> str:
        return ann.get(reverse("job", args=[make_job(alice, status, **fields).pk])).text

    assert "It left no result." in page(Status.DONE, result=None)
    assert 'id="result"' not in page(Status.DLQ)
    assert 'id="result"' not in page(Status.CANCELLED)
    assert "Not yet." in page(Status.RUNNING)
