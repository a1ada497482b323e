"""What is told of several leases on one job at once: each is judged on its own."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobs import leases, services, store
from jobs.conf import conf
from jobs.errors import EncryptionKeyMissing
from jobs.keys import create_api_key
from jobs.leases_reported import (
    Answer,
    Done,
    Failed,
    Refusal,
    acknowledge,
    fail,
    heartbeat,
    release,
)
from jobs.models import ApiKey, Attempt, Job, Tenant
from jobs.statuses import Status
from jobs.store import Lease
from jobs.submission import NewJob
from tests.store.steps import claim, expire, lane_of, no_delay

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(alice: Tenant) -> ApiKey:
    return create_api_key(alice, actor="command:test")[0]


@pytest.fixture
def two(alice: Tenant, key: ApiKey) -> tuple[Lease, Lease]:
    """A lease that was given back, and the one that was granted on the same job since."""
    services.submit(alice, NewJob(task="remote:resize"))
    wish = leases.Wish(tenant=alice, worker=leases.worker_id(key.prefix, "w"), max_jobs=1)
    (first,) = leases.lease(wish)
    release(key, [Lease(first.pk, first.fence)])
    (second,) = leases.lease(wish)
    assert first.pk == second.pk
    return Lease(first.pk, first.fence), Lease(second.pk, second.fence)


REPORTS: dict[str, Callable[[ApiKey, tuple[Lease, ...]], list[Answer]]] = {
    "heartbeat": lambda key, both: heartbeat(key, both, lease_seconds=30),
    "acknowledge": lambda key, both: acknowledge(key, [Done(*one, result=b"1") for one in both]),
    "fail": lambda key, both: fail(key, [Failed(*one) for one in both]),
    "release": release,
}


@pytest.mark.parametrize("report", REPORTS)
def test_current_lease_does_not_make_a_lost_one_held(
    key: ApiKey, two: tuple[Lease, Lease], report: str
) -> None:
    answers = REPORTS[report](key, two)
    assert [answer.refusal for answer in answers] == [Refusal.LEASE_LOST, None]


def test_large_result_of_a_lost_lease_does_not_refuse_that_of_the_current_one(
    key: ApiKey, two: tuple[Lease, Lease]
) -> None:
    lost, current = two
    large = b"1" * (conf().max_result_bytes + 1)
    answers = acknowledge(key, [Done(*lost, result=large), Done(*current, result=b"2")])
    assert [answer.refusal for answer in answers] == [Refusal.LEASE_LOST, None]
    assert bytes(Job.objects.get().result or b"") == b"2"


def wish(tenant: Tenant, **fields: int) -> leases.Wish:
    """Of a worker over REST."""
    return leases.Wish(tenant=tenant, worker=leases.worker_id("prefix", "w"), **fields)


def test_lease_that_is_lost_on_its_way_is_told_with_its_own_fence(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that of the next holder, its worker could act for that one."""
    job_id = services.submit(alice, NewJob(task="remote:resize")).job_id
    find_jobs = leases.find_jobs

    def give_to_another(tenant_id: int, ids: Sequence[Any]) -> dict[Any, Job]:
        store.release([Lease(job_id, 1)])
        (other,) = claim(lane_of(alice), worker="other")
        assert other.fence == 2
        return find_jobs(tenant_id, ids)

    monkeypatch.setattr(leases, "find_jobs", give_to_another)
    (job,) = leases.lease(wish(alice))
    assert (job.pk, job.fence) == (job_id, 1)


def test_payload_that_is_more_than_one_answer_may_hold_is_handed_out_alone(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be claimed and given back for ever."""
    monkeypatch.setattr(leases, "MAX_PAYLOADS_BYTES", 5)
    services.submit_many(alice, [NewJob(task="remote:resize", payload=b"1234567")] * 2)
    (job,) = leases.lease(wish(alice, max_jobs=2))
    assert bytes(job.payload) == b"1234567"
    assert Job.objects.get(status=Status.PENDING).attempt == 0


def test_job_whose_key_has_just_gone_goes_back_unspent(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.submit(alice, NewJob(task="remote:resize"))
    gone = EncryptionKeyMissing.code
    monkeypatch.setattr(leases, "why_unreadable", lambda job, fields: gone)
    assert leases.lease(wish(alice)) == []
    job = Job.objects.get()
    assert (job.status, job.attempt, job.worker) == (Status.PENDING, 0, "")


def lease_one(tenant: Tenant, key: ApiKey) -> Lease:
    (job,) = leases.lease(leases.Wish(tenant=tenant, worker=leases.worker_id(key.prefix, "w")))
    return Lease(job.pk, job.fence)


def test_result_may_be_as_large_as_the_limit_and_no_larger(alice: Tenant, key: ApiKey) -> None:
    services.submit(alice, NewJob(task="remote:resize"))
    one = lease_one(alice, key)
    large = b"1" * conf().max_result_bytes
    (answer,) = acknowledge(key, [Done(*one, result=large + b"1")])
    assert answer.refusal is Refusal.TOO_LARGE
    assert Job.objects.get().status == Status.RUNNING
    (answer,) = acknowledge(key, [Done(*one, result=large)])
    assert (answer.refusal, Job.objects.get().status) == (None, Status.DONE)


def test_what_another_lease_has_done_is_no_success_of_one_that_failed(
    alice: Tenant, key: ApiKey
) -> None:
    services.submit(alice, NewJob(task="remote:resize"))
    first = lease_one(alice, key)
    fail(key, [Failed(*first, retry_in_seconds=0)])
    store.retry([first.job_id])
    second = lease_one(alice, key)
    acknowledge(key, [Done(*second, result=b"1")])
    (answer,) = acknowledge(key, [Done(*first, result=b"1")])
    assert answer.refusal is Refusal.ALREADY_FINISHED


def test_failure_in_the_words_of_a_loss_was_not_recorded(alice: Tenant, key: ApiKey) -> None:
    services.submit(alice, NewJob(task="remote:resize"))
    one = lease_one(alice, key)
    expire([one.job_id])
    store.reap("reaper", no_delay)
    lost = Attempt.objects.get()
    (answer,) = fail(key, [Failed(*one, error_type=lost.error_type, message=lost.message)])
    assert answer.refusal is Refusal.LEASE_LOST


def test_failures_are_retried_as_often_as_the_job_says(alice: Tenant, key: ApiKey) -> None:
    services.submit(alice, NewJob(task="remote:resize", max_retries=1))
    endings = []
    for _ in range(2):
        one = lease_one(alice, key)
        fail(key, [Failed(*one)])
        endings.append(Job.objects.values_list("status", "reason").get())
        store.retry([one.job_id])
    assert endings == [(Status.FAILED, ""), (Status.DLQ, "retries_exhausted")]
