"""What is told of several leases on one job at once: each is judged on its own."""

from collections.abc import Callable

import pytest

from jobs import leases, services
from jobs.conf import conf
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
from jobs.models import ApiKey, Job, Tenant
from jobs.store import Lease
from jobs.submission import NewJob

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
