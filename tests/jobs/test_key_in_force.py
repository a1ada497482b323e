"""What is submitted is sealed with the key that its tenant has when it is stored, or refused.

Whatever the caller believes: a program may have read its tenant long ago, and a process believes a
key for some seconds.
"""

from collections.abc import Callable
from typing import Any

import pytest

from jobs import data_keys, services, tenant_keys
from jobs.data_keys import key_of
from jobs.errors import EncryptionKeyErased
from jobs.keys import recent_keys
from jobs.models import Job, Line, Tenant
from jobs.submission import NewJob, Submitted
from tests.api.conftest import Caller, problem
from tests.api.conftest import api as api
from tests.api.conftest import caller_of as caller_of
from tests.encrypted import ACTOR, CANARY, FIRST, encrypted, stored_text

pytestmark = pytest.mark.django_db

Submit = Callable[[Tenant], list[Submitted]]
PAYLOAD = f'"{CANARY}"'.encode()
NEW = NewJob(task="echo", payload=PAYLOAD)
WAYS: dict[str, Submit] = {
    "one": lambda tenant: [services.submit(tenant, NEW)],
    "one with its row": lambda tenant: [services.submit(tenant, NEW, with_row=True)],
    "several": lambda tenant: services.submit_many(tenant, [NEW] * 3),
    "one with tags": lambda tenant: [
        services.submit(tenant, NewJob(task="echo", payload=PAYLOAD, tags=("a",)))
    ],
    "one with a key": lambda tenant: [
        services.submit(tenant, NewJob(task="echo", payload=PAYLOAD, idempotency_key="k"))
    ],
    "one of a new queue": lambda tenant: [
        services.submit(tenant, NewJob(task="echo", payload=PAYLOAD, queue="new"))
    ],
}


@pytest.fixture(autouse=True)
def first_key(environment_holds: Callable[..., None]) -> None:
    """The environment has a key."""
    environment_holds(FIRST)


@pytest.fixture
def held(alice: Tenant) -> Tenant:
    """Alice as a program holds her that has submitted before."""
    services.submit(alice, NewJob(task="echo"))
    return Tenant.objects.get(pk=alice.pk)


def another(tenant: Tenant) -> Tenant:
    """The tenant as another process has read it."""
    return Tenant.objects.get(pk=tenant.pk)


def is_sealed_with(key_id: int, submitted: list[Submitted]) -> bool:
    """Whether all of the jobs are in lines of that key, and open as what they were."""
    jobs = Job.objects.filter(pk__in=[one.job_id for one in submitted])
    lines = set(Line.objects.filter(pk__in=jobs.values("line_id")).values_list("key_id", flat=True))
    return lines == {key_id} and {bytes(job.payload) for job in jobs} == {PAYLOAD}


@pytest.mark.parametrize("way", WAYS)
def test_who_held_a_tenant_from_before_submits_nothing_in_plain(held: Tenant, way: str) -> None:
    now = encrypted(another(held))
    submitted = WAYS[way](held)
    assert all(one.created for one in submitted)
    assert is_sealed_with(now.key_id, submitted)
    assert CANARY not in stored_text()


@pytest.mark.parametrize("way", WAYS)
def test_after_a_rotation_nothing_is_sealed_with_the_key_before(held: Tenant, way: str) -> None:
    held = encrypted(held)
    now = another(held)
    tenant_keys.rotate(now, actor=ACTOR)
    assert is_sealed_with(now.key_id, WAYS[way](held))


@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_believes_an_erased_key_stores_nothing(
    held: Tenant, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = encrypted(held)
    services.submit(held, NEW)
    believed, count = key_of(held.key_id), Job.objects.count()
    monkeypatch.setattr(tenant_keys, "forget_keys", lambda: None)  # it was another process
    tenant_keys.erase(another(held), actor=ACTOR)
    assert key_of(held.key_id) == believed
    with pytest.raises(EncryptionKeyErased):
        WAYS[way](held)
    assert Job.objects.count() == count


@pytest.mark.parametrize("way", WAYS)
def test_who_held_a_tenant_whose_key_was_erased_submits_with_the_next(
    held: Tenant, way: str
) -> None:
    held = encrypted(held)
    now = another(held)
    tenant_keys.erase(now, actor=ACTOR)
    encrypted(now)
    assert is_sealed_with(now.key_id, WAYS[way](held))


def test_a_repeated_request_is_answered_whatever_its_caller_believes(held: Tenant) -> None:
    submit = WAYS["one with a key"]
    (first,) = submit(held)
    encrypted(another(held))
    (again,) = submit(held)
    assert (again.job_id, again.created) == (first.job_id, False)


def test_over_rest_nothing_is_accepted_once_the_key_is_erased(
    api: Caller, held: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted(held)
    api.submit(payload=CANARY)
    recent: dict[Any, Any] = dict(recent_keys)
    monkeypatch.setattr(tenant_keys, "forget_keys", lambda: None)
    tenant_keys.erase(another(held), actor=ACTOR)
    recent_keys.update(recent)  # this process has not heard of it
    for path, body in (("/jobs", {"payload": 1}), ("/jobs/bulk", {"jobs": [{"payload": 1}]})):
        problem(api.post(path, body), 409, "encryption_key_erased")


def test_key_that_was_erased_elsewhere_is_believed_for_seconds_alone(
    held: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = encrypted(held)
    assert data_keys.openable({held.key_id}) == {held.key_id}
    monkeypatch.setattr(tenant_keys, "forget_keys", lambda: None)  # it was another process
    tenant_keys.erase(another(held), actor=ACTOR)
    assert 0 < data_keys.KEY_SECONDS <= 5
    monkeypatch.setattr(data_keys, "KEY_SECONDS", 0)  # they have gone by
    assert data_keys.openable({held.key_id}) == set()
    with pytest.raises(EncryptionKeyErased):
        key_of(held.key_id)
