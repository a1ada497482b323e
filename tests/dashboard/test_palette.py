"""The palette finds what its user sees, and nothing of others."""

from django.test import Client
from django.urls import reverse

from jobs.models import Tenant
from tests.factories import make_job


def _found(client: Client, text: str, **query: str) -> list[tuple[str, str]]:
    answer = client.get(reverse("find"), {"q": text, **query})
    return [(one["kind"], one["href"]) for one in answer.json()["found"]]


def test_a_job_is_found_by_its_id(ann: Client, alice: Tenant) -> None:
    job = make_job(alice)

    assert ("PENDING", reverse("job", args=[job.pk])) in _found(ann, str(job.pk))
    assert ("PENDING", reverse("job", args=[job.pk])) in _found(ann, f" {job.pk.hex} ")


def test_a_strangers_job_and_queue_are_not(stranger: Client, alice: Tenant) -> None:
    job = make_job(alice, queue="secret-queue")

    assert [kind for kind, _ in _found(stranger, str(job.pk))] == ["filter"]
    assert [kind for kind, _ in _found(stranger, "secret")] == ["filter"]


def test_queues_are_found_by_a_part_of_their_name(
    ann: Client, operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    for tenant in (alice, mallory):
        make_job(tenant, queue="nightly-mail")

    def found(client: Client, text: str, **query: str) -> list[str]:
        return [href for kind, href in _found(client, text, **query) if kind == "queue"]

    assert len(found(ann, "MAIL")) == 1
    assert len(found(operator, "mail")) == 2
    assert found(operator, "mail", tenant="alice") == found(ann, "mail")
    assert found(operator, "ali/mail") == found(ann, "mail")


def test_a_queue_is_paused_and_resumed_by_who_may(
    ann: Client, viewer: Client, alice: Tenant
) -> None:
    make_job(alice, queue="mail")
    pages = {name: reverse(f"{name}-queue", args=["alice", "mail"]) for name in ("pause", "resume")}

    def acts(client: Client, text: str) -> list[str]:
        return [href for kind, href in _found(client, text) if kind == "action"]

    assert acts(ann, "mail") == acts(ann, "Pause ma") == [pages["pause"]]
    assert acts(ann, "resume mail") == acts(viewer, "pause mail") == acts(viewer, "mail") == []
    ann.post(pages["pause"], {"reason": "the relay is down"})
    assert acts(ann, "mail") == acts(ann, "resume mail") == [pages["resume"]]
    assert "Resume alice/mail? 1 of its jobs wait." in ann.get(pages["resume"]).text


def test_anything_else_becomes_a_filter_of_jobs(ann: Client, alice: Tenant) -> None:
    ((_, href),) = _found(ann, 'status:DLQ error:"timed out"')

    assert ann.get(href).context["asked"].error == ""
    assert _found(ann, "  ") == []


def test_every_page_has_the_palette_and_its_pages_are_links(ann: Client, alice: Tenant) -> None:
    page = ann.get(reverse("overview")).text

    assert 'role="combobox"' in page
    for name in ("overview", "jobs", "dead", "keys", "audit", "settings"):
        assert f'href="{reverse(name)}"' in page
