"""What the admin shows of a tenant that is encrypted at rest."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from jobs import tenant_keys
from jobs.data_keys import forget_keys
from jobs.models import Job, Tenant, TenantKey
from jobs.statuses import Status
from tests.encrypted import ACTOR, CANARY, FIRST, SECOND, encrypted, stored_text
from tests.factories import make_job


@pytest.fixture
def job(
    alice: Tenant, environment_holds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Job:
    """A dead letter of Alice's, encrypted in all its parts."""
    environment_holds(FIRST)
    job = make_job(alice, Status.DLQ, payload=f'["{CANARY}"]'.encode(), error_message=CANARY)
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    tenant_keys.seal_earlier(encrypted(alice))
    assert CANARY not in stored_text()
    return job


def page(client: Client, name: str, *arguments: object) -> str:
    return client.get(reverse(f"admin:jobs_{name}", args=arguments)).text


def test_operator_reads_plaintext(operator: Client, job: Job) -> None:
    assert page(operator, "job_change", job.pk).count(CANARY) >= 3
    assert CANARY in page(operator, "deadletter_edit", job.pk)


def test_payload_still_needs_its_permission(staff: Callable[..., Client], job: Job) -> None:
    assert f"[&quot;{CANARY}" not in page(staff("view_job"), "job_change", job.pk)


def test_groups_of_dead_letters_tell_the_message_of_their_newest(
    operator: Client, staff: Callable[..., Client], job: Job
) -> None:
    assert f'title="{CANARY}"' in page(operator, "deadletter_changelist")
    assert CANARY not in page(staff("view_job"), "deadletter_changelist")


def test_search_finds_no_encrypted_message(operator: Client, job: Job) -> None:
    address = reverse("admin:jobs_job_changelist")
    assert str(job.pk) not in operator.get(address, {"q": CANARY}).text
    assert str(job.pk) in operator.get(address, {"q": job.error_type}).text


def test_tenant_says_how_it_is_encrypted(
    operator: Client, job: Job, mallory: Tenant, environment_holds: Callable[..., None]
) -> None:
    alice = job.tenant_id
    assert "wrapped by &#x27;first&#x27;" in page(operator, "tenant_change", alice)
    assert "not encrypted" in page(operator, "tenant_change", mallory.pk)
    environment_holds(SECOND)
    assert "cannot be opened here" in page(operator, "tenant_change", alice)
    tenant_keys.erase(Tenant.objects.get(pk=alice), actor=ACTOR)
    assert "was erased at" in page(operator, "tenant_change", alice)


def test_erased_job_is_shown_without_what_it_carried(operator: Client, job: Job) -> None:
    tenant_keys.erase(job.tenant, actor=ACTOR)
    shown = page(operator, "job_change", job.pk)
    assert "cannot be read: encryption key erased" in shown
    assert CANARY not in shown


def test_edited_payload_without_a_key_to_seal_it_is_not_sent_back(
    operator: Client, job: Job
) -> None:
    Job.objects.filter(pk=job.pk).update(payload=b"[0]")  # in plain, and it can be read
    tenant_keys.erase(job.tenant, actor=ACTOR)
    address = reverse("admin:jobs_deadletter_edit", args=[job.pk])
    answer = operator.post(address, {"payload": "[1]", "confirmed": "yes"}, follow=True)
    assert "Not sent back: The tenant" in answer.text
    job.refresh_from_db()
    assert job.status == "DLQ"


def test_payload_that_cannot_be_read_now_is_not_offered_and_not_overwritten(
    operator: Client, job: Job
) -> None:
    address = reverse("admin:jobs_deadletter_edit", args=[job.pk])
    tenant_keys.rotate(job.tenant, actor=ACTOR)
    TenantKey.objects.exclude(pk=job.tenant.key_id).update(wrapped_by="away")
    forget_keys()
    edited = {"payload": "null", "confirmed": "yes"}
    for answer in (operator.get(address, follow=True), operator.post(address, edited, follow=True)):
        assert "Its payload cannot be read (encryption key missing)" in answer.text
    TenantKey.objects.update(wrapped_by="first")
    forget_keys()
    job.refresh_from_db()
    assert (job.status, bytes(job.payload)) == ("DLQ", f'["{CANARY}"]'.encode())


def test_edited_payload_is_sealed_on_its_way_back(operator: Client, job: Job) -> None:
    address = reverse("admin:jobs_deadletter_edit", args=[job.pk])
    operator.post(address, {"payload": f'["{CANARY} mended"]', "confirmed": "yes"})
    job.refresh_from_db()
    assert (job.status, bytes(job.payload)) == ("PENDING", f'["{CANARY} mended"]'.encode())
    assert CANARY not in stored_text()
