"""Outcomes and the claims that follow them, in one commit."""

import sys
from collections.abc import Callable

import pytest
from django.db import DataError

from jobs import services, store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store.dialect import fetch, is_postgresql
from tests.store.steps import WORKER, outcome, status_of, submit, together

pytestmark = pytest.mark.django_db(transaction=True)
LIMIT = 2
ACTOR = "command:test"


@pytest.fixture
def limited(make_tenant: Callable[..., Tenant]) -> Tenant:
    return make_tenant("limited", max_running=LIMIT)


def start(tenant: Tenant) -> tuple[store.Share, list[store.ClaimedJob]]:
    """Claim all that the limit allows; answers the share, too."""
    (seen,) = store.ready_lanes()
    share = seen.share(LIMIT)
    return share, store.claim(WORKER, [share], lease_seconds=30)


def relay(
    share: store.Share, *outcomes: store.Outcome, worker: str = WORKER
) -> tuple[set[object], list[store.ClaimedJob]]:
    ended, claimed = store.relay(worker, outcomes, [share], lease_seconds=30, after={})
    return set(ended), claimed


def done(*jobs: store.ClaimedJob) -> list[store.Outcome]:
    return [outcome(job, Status.DONE) for job in jobs]


def running(tenant: Tenant) -> int:
    return Job.objects.filter(tenant=tenant, status=Status.RUNNING).count()


def test_next_jobs_take_the_places_of_those_that_ended(limited: Tenant) -> None:
    ids = submit(limited, 6)
    share, first = start(limited)
    ended, second = relay(share, *done(*first))
    assert ended == set(ids[:LIMIT])
    assert [job.id for job in second] == ids[LIMIT : 2 * LIMIT]
    assert [status_of(job_id) for job_id in ids] == ["DONE"] * 2 + ["RUNNING"] * 2 + ["PENDING"] * 2


def test_outcome_that_comes_too_late_frees_no_place(limited: Tenant) -> None:
    submit(limited, 6)
    share, (first, second) = start(limited)
    late = outcome(second, Status.DONE, fence=second.fence - 1)
    ended, claimed = relay(share, *done(first), late)
    assert (ended, len(claimed), running(limited)) == ({first.id}, 1, LIMIT)


def test_outcomes_are_recorded_though_nothing_may_start(limited: Tenant) -> None:
    submit(limited, 6)
    share, first = start(limited)
    services.set_queue_paused(limited, "default", paused=True, actor=ACTOR)
    ended, claimed = relay(share, *done(*first))
    assert (len(ended), claimed, running(limited)) == (LIMIT, [], 0)


def test_outcomes_are_not_recorded_without_the_claim(
    limited: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has lost the answer would not know of the jobs that it got."""
    submit(limited, 6)
    share, first = start(limited)

    def fail(*args: object, **options: object) -> list[store.ClaimedJob]:
        raise DataError

    # On PostgreSQL it is the name of the worker that is too long.
    monkeypatch.setattr(sys.modules["jobs.store.relay"], "claim", fail)
    with pytest.raises(DataError):
        relay(share, *done(*first), worker="x" * 10_000)
    assert [status_of(job.id) for job in first] == [Status.RUNNING] * LIMIT
    assert (store.finish(WORKER, done(*first)), running(limited)) == ({x.id for x in first}, 0)


def test_those_who_relay_at_once_keep_the_limit(limited: Tenant) -> None:
    submit(limited, 40)
    share, held = start(limited)
    while held:
        rounds = [lambda job=job: relay(share, *done(job)) for job in held]  # type: ignore[misc]
        answers = together([*rounds, lambda: relay(share)])
        assert {job.id for job in held} == set().union(*(ended for ended, _ in answers))
        assert running(limited) <= LIMIT
        held = [job for _, claimed in answers for job in claimed]
        held = held or store.claim(WORKER, [share], lease_seconds=30)
    assert not Job.objects.exclude(status=Status.DONE).exists()


def test_next_jobs_are_only_those_that_suit_the_worker(limited: Tenant) -> None:
    submit(limited, 3)
    share, first = start(limited)
    submit(limited, worker_tags=("gpu",), priority=9)
    submit(limited, task="known.elsewhere", priority=9)
    _, claimed = store.relay(
        WORKER, done(*first), [share], lease_seconds=30, unknown=["known.elsewhere"]
    )
    assert [job.task for job in claimed] == ["echo"]


def test_limit_that_was_lowered_meanwhile_holds(limited: Tenant) -> None:
    submit(limited, 6)
    share, first = start(limited)
    services.change_limits(limited, actor=ACTOR, max_running=1)
    ended, claimed = relay(share, *done(*first))
    assert (len(ended), len(claimed)) == (LIMIT, 1)


def test_nothing_is_left_of_a_lane_that_is_worked_off(limited: Tenant) -> None:
    submit(limited, LIMIT)
    share, first = start(limited)
    assert relay(share, *done(*first)) == ({job.id for job in first}, [])


def test_one_transaction_does_both(limited: Tenant) -> None:
    if not is_postgresql():
        pytest.skip("SQLite does not tell who has written a row")
    submit(limited, 2 * LIMIT)
    share, first = start(limited)
    relay(share, *done(*first))
    writers = fetch("SELECT DISTINCT xmin::text FROM jobs_job", {})
    assert len(writers) == 1
