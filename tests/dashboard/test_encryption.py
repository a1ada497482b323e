"""What the dashboard shows of a tenant that is encrypted at rest."""

from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from jobs import tenant_keys
from jobs.fingerprint import fingerprint
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.encrypted import ACTOR, CANARY, FIRST, encrypted, stored_text
from tests.factories import make_job


@pytest.fixture
def job(
    alice: Tenant, environment_holds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Job:
    """A dead letter of Alice's and a waiting job, encrypted in all their parts."""
    environment_holds(FIRST)
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    payload = f'["{CANARY}"]'.encode()
    job = make_job(alice, Status.DLQ, payload=payload, error_message=f"{CANARY} no more")
    make_job(alice, payload=payload)
    tenant_keys.seal_earlier(encrypted(alice))
    assert CANARY not in stored_text()
    return job


def shown(client: Client, name: str, *arguments: object, **query: str) -> str:
    page = client.get(reverse(name, args=arguments), query)
    assert page.status_code == 200
    return unescape(page.content.decode())


def test_member_reads_plaintext(ann: Client, job: Job) -> None:
    assert shown(ann, "job", job.pk).count(CANARY) >= 2
    assert CANARY in shown(ann, "stored-json", job.pk, "payload")
    assert f'["{CANARY}"]' in shown(ann, "jobs")


def test_dead_letters_are_grouped_by_what_they_have_in_common(ann: Client, job: Job) -> None:
    page = shown(ann, "dead")
    assert f"{CANARY} no more" in page
    assert f"{job.error_type}: {fingerprint(job.error_message)}" in page
    found = shown(ann, "jobs", filter=f"message:{_kind(page)} status:DLQ")
    assert str(job.pk) in found


def _kind(page: str) -> str:
    start = page.index("encrypted-")
    return page[start : start + len("encrypted-") + 16]


def test_large_encrypted_payload_is_not_opened_for_a_list(
    ann: Client, job: Job, alice: Tenant
) -> None:
    make_job(alice, payload=b'"' + b"x" * 20_000 + b'"', queue="large")
    assert "(encrypted)" in shown(ann, "jobs", filter="queue:large")


def test_erased_job_says_why_nothing_is_shown(ann: Client, job: Job) -> None:
    tenant_keys.erase(job.tenant, actor=ACTOR)
    page = shown(ann, "job", job.pk)
    assert "cannot be read" in page
    assert CANARY not in page
    for name in ("jobs", "dead", "overview"):
        assert CANARY not in shown(ann, name)


def test_payload_that_cannot_be_read_is_neither_downloaded_nor_copied(
    ann: Client, job: Job
) -> None:
    tenant_keys.erase(job.tenant, actor=ACTOR)
    for part in ("payload", "result"):
        page = ann.get(reverse("stored-json", args=[job.pk, part]))
        assert (page.status_code, b"null" in page.content) == (404, False)
    assert ann.get(reverse("submit"), {"like": str(job.pk)}).status_code == 404
