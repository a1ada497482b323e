"""Workers read what is encrypted, leave nothing of it in plain, and wait for a key that is away."""

import json
import uuid
from collections.abc import Callable

import pytest
from django.db import connection

from jobs import store, tenant_keys
from jobs.data_keys import forget_keys, key_of
from jobs.encryption import JobSeal
from jobs.models import Attempt, Job, Tenant, TenantKey
from jobs.why import explain
from tests.encrypted import CANARY, FIRST, SECOND, encrypted, stored_text
from tests.harness import WorkerProcess, running_workers, wait_until
from tests.workers import tasks
from tests.workers.conftest import Submit, wait_for
from tests.workers.slots import Slots
from workers import attempt


@pytest.mark.django_db(transaction=True)
def test_whole_life_of_encrypted_jobs_leaves_nothing_in_plain(
    alice: Tenant,
    submit: Submit,
    environment_holds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment_holds(FIRST)
    monkeypatch.setenv("ENCRYPTION_KEYS", FIRST)
    before = submit("echo", json.dumps(["plain before"]).encode())
    encrypted(alice)
    echoed = submit("echo", json.dumps([CANARY]).encode())
    added = submit("add_killably", b'{"a": 40, "b": 2}')
    failed = submit("decide", json.dumps({"how": CANARY}).encode(), max_retries=1)
    called = tasks.decide.using(tenant="alice").enqueue(how="retry")
    with running_workers(promote_interval_seconds=0.05):
        for job in (before, echoed, added):
            wait_for(job, "DONE", timeout=60)
        wait_for(failed, "DLQ", timeout=60)
        wait_until(lambda: Job.objects.get(pk=called.id).status == "DLQ", 60)
    assert json.loads(bytes(before.result)) == ["plain before"]
    assert json.loads(bytes(echoed.result)) == [CANARY]
    assert bytes(added.result) == b"42"
    assert failed.error_message == CANARY
    assert [CANARY in x.traceback for x in Attempt.objects.filter(job=failed)] == [True, True]
    result = tasks.decide.get_result(called.id)
    assert result.kwargs == {"how": "retry"}
    assert "not yet" in result.errors[0].traceback
    assert CANARY not in stored_text()
    with connection.cursor() as cursor:
        cursor.execute("SELECT result FROM jobs_job WHERE result IS NOT NULL")
        assert all(bytes(stored).startswith(b"\0jq1") for (stored,) in cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_rotations_beside_running_jobs_lose_nothing_and_run_nothing_twice(
    alice: Tenant,
    submit: Submit,
    environment_holds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment_holds(FIRST)
    monkeypatch.setenv("ENCRYPTION_KEYS", FIRST)
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    encrypted(alice)
    jobs = {submit("echo", str(n).encode()).pk: str(n).encode() for n in range(150)}
    with running_workers(count=2):
        for _ in range(3):
            tenant_keys.rotate(alice, actor="command:test")
            tenant_keys.seal_earlier(alice)
        wait_until(lambda: Job.objects.filter(status="DONE").count() == len(jobs), 60)
    tenant_keys.seal_earlier(alice)
    TenantKey.objects.exclude(pk=alice.key_id).delete()
    forget_keys()
    ended = {job.pk: (bytes(job.payload), bytes(job.result)) for job in Job.objects.all()}
    assert ended == {pk: (payload, payload) for pk, payload in jobs.items()}
    assert set(Job.objects.values_list("attempt", "fence", "lost_count")) == {(1, 1, 0)}


@pytest.mark.django_db(transaction=True)
def test_worker_without_the_key_leaves_the_job_alone_and_says_so(
    alice: Tenant,
    mallory: Tenant,
    submit: Submit,
    environment_holds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment_holds(FIRST)
    encrypted(alice)
    job = submit("echo", json.dumps([CANARY]).encode())
    monkeypatch.setenv("ENCRYPTION_KEYS", SECOND)
    with WorkerProcess() as worker:
        worker.wait_until_ready()
        other = tasks.decide.using(tenant="mallory").enqueue(how="cancel")
        wait_until(lambda: Job.objects.get(pk=other.id).status == "CANCELLED", 60)
        wait_until(lambda: "'first', which ENCRYPTION_KEYS does not hold" in worker.output, 60)
        job.refresh_from_db()
        assert (job.status, job.attempt, job.fence) == ("PENDING", 0, 0)
        (gate, *_) = explain(job).gates
        assert gate.code == "encryption_key_missing"
        assert "No live worker" in gate.text
    monkeypatch.setenv("ENCRYPTION_KEYS", f"{SECOND},{FIRST}")
    with running_workers():
        wait_for(job, "DONE", timeout=60)
    assert (job.attempt, json.loads(bytes(job.result))) == (1, [CANARY])


@pytest.fixture
def slots(environment_holds: Callable[..., None]) -> Slots:
    """A claimer in an environment with a key."""
    environment_holds(FIRST)
    return Slots()


@pytest.mark.django_db
def test_job_whose_key_goes_between_look_and_claim_is_given_back_unspent(
    alice: Tenant, submit: Submit, slots: Slots
) -> None:
    encrypted(alice)
    submit("echo")
    slots.tick_until_idle()
    slots.end_all()
    slots.tick_until_idle()
    job = submit("echo")
    tenant_keys.erase(alice, actor="command:test")
    slots.claimer.hear()  # it claims of the lane that the last one was of, unseen
    slots.tick_until_idle()
    job.refresh_from_db()
    assert (slots.started, job.status, job.attempt) == ([], "PENDING", 0)


@pytest.mark.django_db
def test_job_goes_on_with_the_key_it_began_with(
    alice: Tenant, submit: Submit, slots: Slots
) -> None:
    encrypted(alice)
    job = submit("echo", b'["x"]')
    slots.tick_until_idle()
    (held,) = slots.started
    assert held.job.payload == b'["x"]'
    tenant_keys.erase(alice, actor="command:test")
    outcome = attempt.run(held.job, held.task, "w")
    assert held.key is not None
    assert store.finish("w", [outcome.sealed(held.key)]) == {job.pk}
    job.refresh_from_db()
    assert (job.status, job.unreadable) == ("DONE", "encryption_key_erased")
    assert '["x"]' not in stored_text()


@pytest.mark.django_db
def test_payload_that_was_tampered_with_makes_the_job_a_dead_letter(
    alice: Tenant, submit: Submit, slots: Slots
) -> None:
    encrypted(alice)
    job = submit("echo", b'["x"]', max_retries=3)
    forged = JobSeal(key_of(alice.key_id), uuid.uuid4()).seal("payload", b'["forged"]')
    Job.objects.filter(pk=job.pk).update(payload=forged)
    slots.tick_until_idle()
    (held,) = slots.started
    outcome = attempt.run(held.job, held.task, "w")
    assert outcome.status == "DLQ"
    assert "another job's" in outcome.error_message


@pytest.mark.django_db
def test_plain_payload_in_a_line_of_sealed_ones_is_not_run(
    alice: Tenant, submit: Submit, slots: Slots
) -> None:
    encrypted(alice)
    job = submit("echo", b'["x"]', max_retries=3)
    Job.objects.filter(pk=job.pk).update(payload=b'["forged"]')
    slots.tick_until_idle()
    (held,) = slots.started
    assert attempt.run(held.job, held.task, "w").status == "DLQ"
