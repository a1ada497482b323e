"""How long jobs had waited is counted for workers over REST as well."""

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F

from jobs.data_keys import key_of
from jobs.encryption import JobSeal
from jobs.models import Job, LaneMinute, Tenant, WaitMinute
from jobs.store import waits
from jobs.store.waits import bucket_of
from tests.api.conftest import Caller
from tests.api.lease_steps import held, lease, lease_one, take_away, told
from tests.encrypted import FIRST, encrypted

pytestmark = pytest.mark.django_db
WAITED = timedelta(hours=1)


@pytest.fixture(autouse=True)
def written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)


def leased(api: Caller, **fields: object) -> dict[str, object]:
    """A job that had waited for an hour when it was leased."""
    job = lease_one(api, **fields)
    Job.objects.filter(pk=job["id"]).update(run_at=F("started_at") - WAITED)
    return job


def counted(tenant: Tenant) -> list[tuple[int, int]]:
    """The buckets of the tenant's jobs and how many are in each."""
    found = WaitMinute.objects.filter(tenant_id=tenant.pk)
    return list(found.values_list("bucket", "attempts"))


@pytest.mark.parametrize(("call", "more"), [("ack", {"result": 1}), ("fail", {})])
def test_what_is_reported_is_counted_once(
    api: Caller, alice: Tenant, call: str, more: dict[str, object]
) -> None:
    job = leased(api)
    for _ in range(2):
        assert told(api, call, held(job, **more)) == [None]
    assert counted(alice) == [(bucket_of(3_600), 1)]


def test_what_times_out_is_counted(api: Caller, alice: Tenant) -> None:
    job = leased(api, timeout_seconds=1)
    Job.objects.filter(pk=job["id"]).update(
        run_at=F("run_at") - WAITED, started_at=F("started_at") - WAITED
    )
    assert told(api, "heartbeat", held(job)) == ["timed_out"]
    assert counted(alice) == [(bucket_of(3_600), 1)]


def test_what_was_given_back_or_lost_is_not_counted(api: Caller, alice: Tenant) -> None:
    assert told(api, "release", held(leased(api))) == [None]
    (job,) = lease(api)
    take_away(job)
    assert told(api, "ack", held(job, result=1)) == ["lease_lost"]
    assert counted(alice) == []


def test_what_is_due_is_written_with_the_next_lease(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "WRITE_SECONDS", 3_600)
    told(api, "ack", held(leased(api), result=1))
    lease(api)
    assert counted(alice) == []
    monkeypatch.setattr(waits, "WRITE_SECONDS", 0)
    lease(api)
    assert counted(alice) == [(bucket_of(3_600), 1)]


def test_what_was_tampered_with_is_counted_as_an_attempt(
    api: Caller, alice: Tenant, environment_holds: Callable[..., None]
) -> None:
    environment_holds(FIRST)
    encrypted(alice)
    job = api.post("/jobs", {"task": "remote:pay", "payload": 1}).json()
    forged = JobSeal(key_of(alice.key_id), uuid.uuid4()).seal("payload", b'"forged"')
    Job.objects.filter(pk=job["id"]).update(payload=forged, run_at=F("run_at") - WAITED)
    assert lease(api) == []
    assert Job.objects.get(pk=job["id"]).status == "DLQ"
    assert counted(alice) == [(bucket_of(3_600), 1)]
    minute = LaneMinute.objects.get(dead=1)
    assert minute.wait_seconds >= 3_600
    assert minute.run_seconds > 0
