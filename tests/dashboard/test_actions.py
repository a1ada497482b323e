"""What people do on the pages reaches the services, is audited, and asks before it destroys."""

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.models import AuditEntry, Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job


def act(client: Client, job: Job, action: str, **data: str):  # type: ignore[no-untyped-def]
    return client.post(reverse("act-on-job", args=[job.pk, action]), data, follow=True)


@pytest.mark.parametrize(
    ("status", "action", "result"),
    [
        (Status.PENDING, "cancel", Status.CANCELLED),
        (Status.SCHEDULED, "cancel", Status.CANCELLED),
        (Status.FAILED, "cancel", Status.CANCELLED),
        (Status.FAILED, "retry", Status.PENDING),
        (Status.DLQ, "redrive", Status.PENDING),
    ],
)
def test_an_action_moves_the_job_and_is_audited(
    ann: Client, alice: Tenant, status: Status, action: str, result: Status
) -> None:
    job = make_job(alice, status)

    page = act(ann, job, action)

    assert page.status_code == 200
    assert Job.objects.get(pk=job.pk).status == result
    assert AuditEntry.objects.get().actor == "user:ann"


def test_cancelling_a_running_job_asks_its_worker(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.RUNNING)

    page = act(ann, job, "cancel").content.decode()

    assert Job.objects.get(pk=job.pk).cancel_requested
    assert "asked to stop" in page


def test_a_refused_action_says_why_and_changes_nothing(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE)

    page = act(ann, job, "retry").content.decode()

    assert "A job that is DONE cannot be retried." in page
    assert Job.objects.get(pk=job.pk).status == Status.DONE


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        (Status.PENDING, {"cancel"}),
        (Status.RUNNING, {"cancel"}),
        (Status.FAILED, {"cancel", "retry"}),
        (Status.DLQ, {"redrive", "discard"}),
        (Status.DONE, set()),
        (Status.CANCELLED, set()),
    ],
)
def test_a_page_offers_what_the_status_allows(
    ann: Client, alice: Tenant, status: Status, offered: set[str]
) -> None:
    job = make_job(alice, status)

    page = ann.get(reverse("job", args=[job.pk])).content.decode()

    for action in ("cancel", "retry", "redrive", "discard"):
        assert (reverse("act-on-job", args=[job.pk, action]) in page) == (action in offered)


@pytest.mark.parametrize("action", ["cancel", "discard"])
def test_destroying_a_job_asks_first(ann: Client, alice: Tenant, action: str) -> None:
    job = make_job(alice, Status.DLQ)

    page = ann.get(reverse("act-on-job", args=[job.pk, action])).content.decode()

    assert f"Yes, {action}" in page
    assert Job.objects.get(pk=job.pk).status == Status.DLQ


def test_following_a_link_moves_nothing(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED)

    ann.get(reverse("act-on-job", args=[job.pk, "retry"]))

    assert Job.objects.get(pk=job.pk).status == Status.FAILED


def test_actions_need_the_token_of_the_form(alice: Tenant, ann: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ann.cookies
    job = make_job(alice)

    answer = strict.post(reverse("act-on-job", args=[job.pk, "cancel"]))

    assert answer.status_code == 403
    assert b"out of date" in answer.content
    assert Job.objects.get(pk=job.pk).status == Status.PENDING


def test_a_queue_is_paused_and_resumed(ann: Client, alice: Tenant) -> None:
    job = make_job(alice)

    for action, paused in (("pause", True), ("resume", False)):
        url = reverse(f"{action}-queue", args=[alice.slug, job.queue])
        page = ann.post(url, {"reason": "a move"}, follow=True).content.decode()
        assert alice.lanes.get().is_paused is paused
        assert ("Resume" in page) is paused


@pytest.mark.parametrize("next_", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_an_action_never_leads_to_another_site(ann: Client, alice: Tenant, next_: str) -> None:
    job = make_job(alice)

    answer = ann.post(reverse("act-on-job", args=[job.pk, "cancel"]), {"next": next_})

    assert answer["Location"] == reverse("job", args=[job.pk])


FORM = {"task": "echo", "queue": "default", "priority": "0", "delay_seconds": "0"}


def test_the_form_submits_a_job_with_the_payload_as_it_was_typed(
    ann: Client, alice: Tenant
) -> None:
    typed = '{"id": 90071992547409931234,  "ratio": 1.10}'

    answer = ann.post(reverse("submit"), FORM | {"tenant": alice.slug, "payload": typed})

    job = Job.objects.get()
    assert answer["Location"] == reverse("job", args=[job.pk])
    assert bytes(job.payload) == typed.encode()


def test_the_form_takes_all_that_the_api_takes(ann: Client, alice: Tenant) -> None:
    soon = (timezone.now() + timedelta(days=30)).replace(microsecond=0)
    seldom = {
        "max_retries": "7",
        "timeout_seconds": "2.5",
        "idempotency_key": "order-17",
        "tags": "a b",
        "worker_tags": "linux gpu",
        "run_at": f"{soon:%Y-%m-%dT%H:%M:%S}",
    }
    given = FORM | {"tenant": alice.slug, "payload": "{}"} | seldom

    ann.post(reverse("submit"), given)

    job = Job.objects.get()
    assert (job.max_retries, job.timeout_seconds, job.tags) == (7, 2.5, ["a", "b"])
    assert (job.worker_tags, job.run_at) == ("gpu,linux", soon)

    again = ann.post(reverse("submit"), given, follow=True).content.decode()
    assert "This idempotency key was used before; this is its job." in again
    refused = ann.post(reverse("submit"), given | {"payload": "[]"})
    assert "used before with another request" in refused.content.decode()
    assert Job.objects.count() == 1


def test_the_form_takes_the_largest_payload_that_rest_takes(ann: Client, alice: Tenant) -> None:
    """Written as a browser writes it each byte of this one takes three characters."""
    typed = f'"{"é" * 450_000}"'
    body = urlencode(FORM | {"tenant": alice.slug, "payload": typed})
    form = "application/x-www-form-urlencoded"
    assert ann.generic("POST", reverse("submit"), body, content_type=form).status_code == 302
    assert bytes(Job.objects.get().payload) == typed.encode()


def test_a_remote_task_is_submitted_and_offered_from_then_on(
    ann: Client, stranger: Client, alice: Tenant
) -> None:
    given = FORM | {"tenant": alice.slug, "payload": "{}", "task": "remote:resize"}
    offered = '<option value="remote:resize">'
    assert offered not in ann.get(reverse("submit")).text

    ann.post(reverse("submit"), given)

    assert Job.objects.get().task == "remote:resize"
    assert offered in ann.get(reverse("submit")).text
    assert offered not in stranger.get(reverse("submit")).text


def test_what_is_seldom_needed_is_folded_until_it_says_something(
    ann: Client, alice: Tenant
) -> None:
    empty = ann.get(reverse("submit")).content.decode()
    wrong = FORM | {"tenant": alice.slug, "payload": "{}", "worker_tags": "no/slash"}
    refused = ann.post(reverse("submit"), wrong)

    assert '<details class="more-fields"><summary>' in empty
    assert '<details class="more-fields" open>' in refused.content.decode()
    assert list(refused.context["form"].errors) == ["worker_tags"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"payload": '{"a": '}, "payload"),
        ({"payload": '{"a": 1, "a": 2}'}, "payload"),
        ({"payload": '"\\u0000"'}, "payload"),
        ({"payload": "[" * 1_000}, "payload"),
        ({"payload": "NaN"}, "payload"),
        ({"task": "sleep", "payload": '{"second": 1}'}, "payload"),
        ({"queue": "no spaces"}, "queue"),
        ({"priority": "101"}, "priority"),
        ({"delay_seconds": "-1"}, "delay_seconds"),
        ({"delay_seconds": "1e300"}, "delay_seconds"),
        ({"delay_seconds": "nan"}, "delay_seconds"),
        ({"max_retries": "100000"}, "max_retries"),
        ({"run_at": "2099-01-01T00:00"}, "run_at"),
        ({"timeout_seconds": "0"}, "timeout_seconds"),
        ({"idempotency_key": "é"}, "idempotency_key"),
        ({"task": "os.system"}, "task"),
        ({"task": ""}, "task"),
        ({"task": "remote:"}, "task"),
    ],
)
def test_a_mistake_is_named_beside_its_field_and_the_input_is_kept(
    ann: Client, alice: Tenant, wrong: dict[str, str], field: str
) -> None:
    given = FORM | {"tenant": alice.slug, "payload": '{"kept": 1}'} | wrong

    answer = ann.post(reverse("submit"), given)

    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [field]
    assert answer.context["form"]["payload"].value() == given["payload"]
    assert not Job.objects.exists()


def test_a_limit_that_refuses_the_job_is_told_on_the_form(ann: Client, alice: Tenant) -> None:
    Tenant.objects.update(submissions_per_minute=1)
    given = FORM | {"tenant": alice.slug, "payload": "{}"}

    ann.post(reverse("submit"), given)
    page = ann.post(reverse("submit"), given)

    assert page.status_code == 400
    assert "may submit 1 jobs" in page.content.decode()


def test_the_stored_bytes_can_be_had(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE, payload=b'{"n":  1.10}', result=b"[90071992547409931234]")

    payload = ann.get(reverse("stored-json", args=[job.pk, "payload"]))
    result = ann.get(reverse("stored-json", args=[job.pk, "result"]))

    assert payload.content == b'{"n":  1.10}'
    assert result.content == b"[90071992547409931234]"
    assert json.loads(payload.content)
    assert payload["Content-Type"] == "application/json"
    assert payload["X-Content-Type-Options"] == "nosniff"


def test_numbers_are_shown_with_the_digits_that_were_sent(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, payload=b'{"id": 90071992547409931234, "ratio": 1.10, "big": 1e400}')

    page = ann.get(reverse("job", args=[job.pk])).content.decode()

    for digits in ("90071992547409931234", "1.10", "1e400"):
        assert f">{digits}<" in page


def test_a_payload_is_shown_and_never_run(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, payload=b'{"<script>alert(1)</script>": "<img src=x onerror=y>"}')

    for url in (reverse("job", args=[job.pk]), reverse("jobs")):
        page = ann.get(url).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
