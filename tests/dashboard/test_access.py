"""Nobody sees or moves a stranger's jobs."""

import uuid
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

PAGES = ("overview", "jobs", "submit", "dead", "operations", "queues", "tenants")


@pytest.mark.parametrize("name", [*PAGES, "workers"])
def test_every_page_asks_for_a_login(client: Client, name: str, db: None) -> None:
    answer = client.get(reverse(name))

    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("login"))


@pytest.mark.parametrize("name", PAGES)
def test_pages_show_nothing_of_another_tenant(
    stranger: Client, alice: Tenant, mallory: Tenant, name: str
) -> None:
    job = make_job(alice, Status.DLQ, task="echo", queue="alices-queue", payload=b'"alices-words"')

    page = stranger.get(reverse(name)).content.decode()

    for secret in (alice.slug, "alices-queue", "alices-words", str(job.pk)):
        assert secret not in page


@pytest.mark.parametrize("name", PAGES)
def test_narrowing_to_an_unseen_tenant_is_not_found(
    stranger: Client, alice: Tenant, name: str
) -> None:
    assert stranger.get(reverse(name), {"tenant": alice.slug}).status_code == 404


def test_a_strangers_job_looks_like_one_that_does_not_exist(
    stranger: Client, alice: Tenant
) -> None:
    job = make_job(alice, Status.DONE)

    for name, rest in (("job", []), ("stored-json", ["payload"]), ("act-on-job", ["cancel"])):
        assert stranger.get(reverse(name, args=[job.pk, *rest])).status_code == 404
        assert stranger.get(reverse(name, args=[uuid.uuid4(), *rest])).status_code == 404


@pytest.mark.parametrize("action", ["cancel", "retry", "redrive", "discard"])
def test_a_stranger_moves_nothing(stranger: Client, alice: Tenant, action: str) -> None:
    job = make_job(alice, Status.DLQ)

    answer = stranger.post(reverse("act-on-job", args=[job.pk, action]))

    assert answer.status_code == 404
    assert Job.objects.get(pk=job.pk).status == Status.DLQ


def test_a_stranger_cannot_pause_a_queue(stranger: Client, alice: Tenant) -> None:
    job = make_job(alice)

    answer = stranger.post(reverse("pause-queue", args=[alice.slug, job.queue]))

    assert answer.status_code == 404
    assert not alice.lanes.get().is_paused


def test_a_stranger_cannot_submit_for_another_tenant(
    stranger: Client, alice: Tenant, mallory: Tenant
) -> None:
    answer = stranger.post(reverse("submit"), {"tenant": alice.slug, "task": "echo"})

    assert answer.status_code == 400
    assert not Job.objects.exists()


def test_operators_see_all_tenants_and_can_narrow_to_one(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    hers, theirs = make_job(alice), make_job(mallory)

    everything = operator.get(reverse("jobs")).content.decode()
    narrowed = operator.get(reverse("jobs"), {"tenant": alice.slug}).content.decode()

    assert str(hers.pk) in everything
    assert str(theirs.pk) in everything
    assert str(hers.pk) in narrowed
    assert str(theirs.pk) not in narrowed


def test_workers_are_shown_to_operators_only(ann: Client, operator: Client) -> None:
    assert ann.get(reverse("workers")).status_code == 404
    assert operator.get(reverse("workers")).status_code == 200
    assert 'data-region="workers"' not in ann.get(reverse("overview")).content.decode()


def test_who_is_in_no_tenant_gets_a_friendly_page(
    log_in: Callable[..., Client], alice: Tenant
) -> None:
    newcomer = log_in("nora")

    for name in ("overview", "jobs", "dead", "operations", "queues", "tenants"):
        page = newcomer.get(reverse(name))
        assert page.status_code == 200
        assert "not a member of any tenant" in page.content.decode()
