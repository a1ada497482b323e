"""The verbs of `manage.py tenants` about encryption, as a shell sees them."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.db.models.functions import Now

from jobs import store, tenant_keys
from jobs.data_keys import KEY_SECONDS, key_of
from jobs.models import AuditEntry, Job, Tenant, TenantKey
from tests.commands.test_tenants_and_keys import refusal, run, run_json
from tests.encrypted import CANARY, FIRST, SECOND, stored_text
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, environment_holds: Callable[..., None]) -> None:
    """No other process has to learn of a key."""
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    environment_holds(FIRST)


@pytest.fixture
def job(alice: Tenant) -> Job:
    """A job from before its tenant was encrypted."""
    return make_job(alice, payload=f'"{CANARY}"'.encode())


def payload_of(job: Job) -> bytes:
    return bytes(Job.objects.get(pk=job.pk).payload)


def test_encrypting_seals_what_there_was(alice: Tenant, job: Job) -> None:
    done = run_json("tenants", "encrypt", "alice")
    alice.refresh_from_db()
    key = {"tenant": "alice", "key": alice.key_id}
    rest = {"unreadable": 0, "running": 0, "left": 0, "unfinished": 0}
    assert done == {**key, "sealed": 1, **rest}
    assert CANARY not in stored_text()
    assert payload_of(job) == f'"{CANARY}"'.encode()
    assert "Sealed 0 values of 1 jobs" in run("tenants", "encrypt", "alice")
    assert TenantKey.objects.count() == 1


def test_without_a_key_in_the_environment_nothing_is_encrypted(
    alice: Tenant, environment_holds: Callable[..., None]
) -> None:
    environment_holds()
    assert "ENCRYPTION_KEYS holds no key" in str(refusal("tenants", "encrypt", "alice"))
    assert not TenantKey.objects.exists()


def test_rotation_makes_a_key_and_seals_with_it(alice: Tenant, job: Job) -> None:
    run("tenants", "encrypt", "alice")
    first, sealed = alice.encryption_keys.get(), _stored(job)
    assert run_json("tenants", "rotate-key", "alice")["sealed"] == 1
    alice.refresh_from_db()
    assert alice.key_id != first.pk
    assert _stored(job) != sealed
    first.delete()
    tenant_keys.forget_keys()
    assert payload_of(job) == f'"{CANARY}"'.encode()


def _stored(job: Job) -> bytes:
    (payload,) = Job.objects.filter(pk=job.pk).values_list("payload", flat=True)
    return bytes(payload)


def test_rotation_that_was_broken_off_goes_on(
    alice: Tenant, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("tenants", "encrypt", "alice")
    tenant_keys.rotate(alice, actor="command:test")
    assert run_json("tenants", "rotate-key", "alice", "--resume")["sealed"] == 1
    assert TenantKey.objects.count() == 2


@pytest.mark.parametrize("arguments", [(), ("--resume",)])
def test_who_is_not_encrypted_has_no_key_to_rotate(
    alice: Tenant, arguments: tuple[str, ...]
) -> None:
    error = refusal("tenants", "rotate-key", "alice", *arguments)
    assert (error.returncode, str(error)) == (4, "The tenant 'alice' is not encrypted.")


def test_erasing_asks_first(alice: Tenant, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    run("tenants", "encrypt", "alice")
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert "Nothing was erased" in str(refusal("tenants", "erase-key", "alice"))
    assert payload_of(job) == f'"{CANARY}"'.encode()
    monkeypatch.setattr("builtins.input", lambda _: "alice")
    run("tenants", "erase-key", "alice")
    assert payload_of(job) == b"null"
    (entry,) = AuditEntry.objects.filter(action="erase_tenant_key")
    assert (entry.actor, entry.details) == ("command:tenants", {"count": 1})


def test_erasing_ends_when_no_process_believes_the_key_any_more(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("tenants", "encrypt", "alice")
    erased: list[tuple[float, bool]] = []

    def sleep(seconds: float) -> None:
        erased.append((seconds, TenantKey.objects.get().erased_at is not None))

    monkeypatch.setattr(tenant_keys, "FORGOTTEN_SECONDS", KEY_SECONDS)
    monkeypatch.setattr(tenant_keys.time, "sleep", sleep)
    run("tenants", "erase-key", "alice", "--yes")
    assert erased == [(KEY_SECONDS, True)]


def test_encrypting_does_not_believe_in_a_key_that_another_process_has_erased(
    alice: Tenant,
) -> None:
    run("tenants", "encrypt", "alice")
    erased = key_of(Tenant.objects.get().key_id)
    TenantKey.objects.update(wrapped=b"", erased_at=Now())
    run("tenants", "encrypt", "alice")
    assert Tenant.objects.get().key_id != erased.id


def test_erasing_twice_erases_nothing_more(alice: Tenant, job: Job) -> None:
    run("tenants", "encrypt", "alice")
    assert run_json("tenants", "erase-key", "alice", "--yes")["erased"] == 1
    assert run_json("tenants", "erase-key", "alice", "--yes")["erased"] == 0


def test_erasing_tells_of_transactions_that_may_yet_submit_what_is_lost(
    alice: Tenant, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("tenants", "encrypt", "alice")
    monkeypatch.setattr(tenant_keys, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(store, "transactions_before", lambda mark: 2)
    assert "2 transactions go on" in str(refusal("tenants", "erase-key", "alice", "--yes"))
    assert payload_of(job) == b"null"


def test_what_cannot_be_opened_is_left_and_counted(alice: Tenant, job: Job) -> None:
    run("tenants", "encrypt", "alice")
    run("tenants", "erase-key", "alice", "--yes")
    assert run_json("tenants", "encrypt", "alice")["unreadable"] == 1


def test_rewrapping_lets_go_of_an_old_key_of_the_environment(
    alice: Tenant, job: Job, environment_holds: Callable[..., None]
) -> None:
    run("tenants", "encrypt", "alice")
    stored = _stored(job)
    environment_holds(SECOND, FIRST)
    assert run_json("tenants", "rewrap") == {"rewrapped": 1}
    assert run("tenants", "rewrap") == "Wrapped 0 keys anew."
    environment_holds(SECOND)
    assert payload_of(job) == f'"{CANARY}"'.encode()
    assert _stored(job) == stored


def test_rewrapping_needs_what_wrapped_them(
    alice: Tenant, environment_holds: Callable[..., None]
) -> None:
    run("tenants", "encrypt", "alice")
    environment_holds(SECOND)
    assert "wrapped by 'first'" in str(refusal("tenants", "rewrap"))


def test_no_secret_is_in_the_database(alice: Tenant, job: Job) -> None:
    run("tenants", "encrypt", "alice")
    secret = tenant_keys.key_of(Tenant.objects.get(pk=alice.pk).key_id).secret
    assert connection.vendor in {"sqlite", "postgresql"}
    assert secret.decode("latin-1") not in stored_text()
