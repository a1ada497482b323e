"""Who sees every tenant may not therefore read its payloads, nor act for it."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from django.urls import reverse

from jobs.access import OPERATE, VIEW_PAYLOAD, Right, allowed
from jobs.models import AuditEntry, Job, Role, Tenant
from jobs.statuses import Status
from tests.factories import make_job

SECRET = "a-card-number"


@pytest.fixture
def job(alice: Tenant) -> Job:
    """A dead letter of Alice's with something to hide."""
    return make_job(alice, Status.DLQ, payload=f'"{SECRET}"'.encode())


def test_the_permissions_of_the_project_decide_for_staff(alice: Tenant, mallory: Tenant) -> None:
    users: dict[str, Any] = {
        "anyone": AnonymousUser(),
        "root": User.objects.create_superuser("root"),
        "oscar": User.objects.create_user("oscar", is_staff=True),
        "ann": User.objects.create_user("ann"),
        "max": User.objects.create_user("max"),
    }
    rights = {"role": Role.OPERATOR, "sees_payloads": True}
    alice.members.set([users["ann"], users["oscar"]], through_defaults=rights)
    mallory.members.set([users["max"]], through_defaults=rights)

    for right in (OPERATE, VIEW_PAYLOAD):
        having = {name for name, user in users.items() if allowed(user, right, [alice])}
        assert having == {"root", "ann"}


@pytest.mark.parametrize(
    ("codename", "right", "other"),
    [
        ("operate_job", OPERATE, VIEW_PAYLOAD),
        ("view_payload", VIEW_PAYLOAD, OPERATE),
    ],
)
def test_each_permission_allows_one_thing(
    alice: Tenant, codename: str, right: Right, other: Right
) -> None:
    user = User.objects.create_user("olga", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename=codename))

    assert allowed(user, right, [alice])
    assert not allowed(user, other, [alice])


@pytest.mark.parametrize("action", ["cancel", "retry", "redrive", "discard"])
def test_an_onlooker_moves_no_job(onlooker: Client, job: Job, action: str) -> None:
    answer = onlooker.post(reverse("act-on-job", args=[job.pk, action]))

    assert answer.status_code == 403
    assert Job.objects.get(pk=job.pk).status == Status.DLQ
    assert onlooker.get(reverse("act-on-job", args=[job.pk, action])).status_code == 403


def test_an_onlooker_pauses_and_submits_nothing(onlooker: Client, alice: Tenant, job: Job) -> None:
    form = {"tenant": alice.slug, "task": "echo", "queue": "q", "payload": "{}"}

    paused = onlooker.post(reverse("pause-queue", args=[alice.slug, job.queue]))

    assert paused.status_code == 403
    assert onlooker.post(reverse("submit"), form).status_code == 403
    assert onlooker.get(reverse("submit")).status_code == 403
    assert Job.objects.count() == 1
    assert not AuditEntry.objects.exists()


def test_an_onlooker_sees_neither_payloads_nor_actions(onlooker: Client, alice: Tenant) -> None:
    done = make_job(
        alice, Status.DONE, payload=f'"{SECRET}"'.encode(), result=f'"{SECRET}"'.encode()
    )
    make_job(alice, Status.DLQ)
    waiting = make_job(alice, payload=f'"{SECRET}"'.encode())

    for address in (*map(reverse, ("overview", "jobs", "dead")), *map(_page, (done, waiting))):
        page = onlooker.get(address).content.decode()
        assert SECRET not in page
        assert "/cancel" not in page
        assert "/redrive" not in page
        assert "/pause" not in page
        assert reverse("start-operation") not in page
        assert reverse("submit") not in page
    assert "Withheld" in onlooker.get(_page(done)).content.decode()
    assert "withheld" in onlooker.get(reverse("jobs")).content.decode()


@pytest.mark.parametrize("part", ["payload", "result"])
def test_an_onlooker_gets_no_stored_bytes(onlooker: Client, alice: Tenant, part: str) -> None:
    job = make_job(alice, Status.DONE)

    assert onlooker.get(reverse("stored-json", args=[job.pk, part])).status_code == 403


def test_an_operator_reads_and_acts(operator: Client, job: Job) -> None:
    assert SECRET in operator.get(_page(job)).content.decode()
    assert operator.get(reverse("stored-json", args=[job.pk, "payload"])).status_code == 200
    assert operator.post(reverse("act-on-job", args=[job.pk, "redrive"])).status_code == 302
    assert Job.objects.get(pk=job.pk).status == Status.PENDING


def _page(job: Job) -> str:
    return reverse("job", args=[job.pk])


@pytest.mark.django_db
def test_a_refusal_says_what_it_needs(viewer: Client, job: Job) -> None:
    needed = {
        reverse("submit"): "the role of an operator",
        reverse("act-on-job", args=[job.pk, "cancel"]): "the role of an operator",
        reverse("keys"): "the role of an admin",
        reverse("stored-json", args=[job.pk, "payload"]): "the right to read payloads",
    }

    for page, need in needed.items():
        assert f"This needs {need}." in viewer.get(page).text
