"""What is done to chosen rows of the list, and what is told of each."""

import re
import uuid
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from dashboard.templatetags.dashboard import id_start
from jobs.models import AuditEntry, Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def choose(client: Client, action: str, *jobs: Job | str, **more: str) -> Any:
    ids = [str(job.pk) if isinstance(job, Job) else job for job in jobs]
    return client.post(reverse("act-on-chosen"), {"action": action, "id": ids, **more})


def told(response: Any) -> list[str]:
    return [f"{message.level_tag}: {message}" for message in get_messages(response.wsgi_request)]


def status_of(job: Job) -> str:
    return Job.objects.get(pk=job.pk).status


def test_rows_can_be_chosen_by_who_may_act(ann: Client, viewer: Client, alice: Tenant) -> None:
    job = make_job(alice)
    box = f'name="id" value="{job.pk}"'
    assert box in ann.get(reverse("jobs")).content.decode()
    page = viewer.get(reverse("jobs")).content.decode()
    assert box not in page
    assert 'id="chosen"' not in page


def test_a_retry_tells_how_many_and_why_others_were_refused(ann: Client, alice: Tenant) -> None:
    failed = [make_job(alice, Status.FAILED, queue=f"q{n}") for n in range(2)]
    done = make_job(alice, Status.DONE)
    response = choose(ann, "retry", *failed, done, next="/jobs/?filter=queue:q1")
    assert (response.status_code, response["Location"]) == (302, "/jobs/?filter=queue:q1")
    assert told(response) == [
        "success: 2 ready to run again.",
        f"error: 1 refused: A job that is DONE cannot be retried. ({id_start(done.pk)})",
    ] or told(response) == [
        f"error: 1 refused: A job that is DONE cannot be retried. ({id_start(done.pk)})",
        "success: 2 ready to run again.",
    ]
    assert [status_of(job) for job in failed] == ["PENDING", "PENDING"]
    assert AuditEntry.objects.filter(action="retry", actor="user:ann").count() == 2


def test_redriving_is_for_dead_letters_alone(ann: Client, alice: Tenant) -> None:
    dead = make_job(alice, Status.DLQ)
    waiting = make_job(alice)
    found = sorted(told(choose(ann, "redrive", dead, waiting)))
    assert found[0].startswith("error: 1 refused: A job that is PENDING is no dead letter.")
    assert found[1] == "success: 1 sent back."
    assert status_of(dead) == "PENDING"


@pytest.mark.parametrize(
    ("action", "before", "after"), [("cancel", "PENDING", "CANCELLED"), ("discard", "DLQ", None)]
)
def test_what_cannot_be_undone_is_asked_first(
    ann: Client, alice: Tenant, action: str, before: str, after: str | None
) -> None:
    job = make_job(alice, Status(before))
    asked = choose(ann, action, job, next="/jobs/?filter=x")
    assert asked.status_code == 200
    assert f"Yes, {action} 1" in asked.content.decode()
    assert str(job.pk) in {str(row.pk) for row in asked.context["rows"]}
    assert status_of(job) == before
    response = choose(ann, action, job, next="/jobs/?filter=x", sure="yes")
    assert response["Location"] == "/jobs/?filter=x"
    assert Job.objects.filter(pk=job.pk).values_list("status", flat=True).first() == after


def test_the_question_leads_to_another_tenant_by_the_list(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    asked = choose(operator, "cancel", make_job(alice), make_job(mallory))
    form = asked.text.partition('class="tenant-choice"')[0].rpartition("<form")[2]
    assert f'action="{reverse("jobs")}"' in form
    assert {"alice", "mallory"} <= set(re.findall(r"[a-z]+", asked.text.partition("<tbody>")[2]))


def test_jobs_that_are_not_there_are_told(ann: Client, mallory: Tenant) -> None:
    foreign = make_job(mallory, Status.FAILED)
    response = choose(ann, "retry", foreign, str(uuid.uuid4()), "nonsense")
    assert told(response) == ["error: 3 refused: There is no such job."]
    assert status_of(foreign) == "FAILED"


def test_who_may_only_look_may_not_act(viewer: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED)
    assert choose(viewer, "retry", job).status_code == 403
    assert status_of(job) == "FAILED"


@pytest.mark.parametrize(
    "form",
    [{"action": "retry"}, {"action": "explode", "id": "x"}, {"action": "retry", "id": ["x"] * 201}],
)
def test_a_form_without_action_or_jobs_is_refused(ann: Client, form: dict[str, Any]) -> None:
    assert ann.post(reverse("act-on-chosen"), form).status_code == 400


def test_the_way_back_is_ours(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED)
    response = choose(ann, "retry", job, next="https://elsewhere.example/")
    assert response["Location"] == reverse("jobs")
    asked = choose(ann, "cancel", job, next="https://elsewhere.example/")
    assert "elsewhere" not in asked.content.decode()
