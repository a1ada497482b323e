"""Old jobs are deleted with all that belongs to them, and nothing else is."""

import uuid
from collections.abc import Callable
from functools import partial

import pytest
from django.db.models import Sum
from django.db.models.functions import Now

from jobs import store
from jobs.models import Attempt, Job, JobTag, LaneMinute, Tenant
from jobs.statuses import TERMINAL, Status
from jobs.store import Ages
from tests.store.steps import age, claim_one, finish, job_in, submit, together

pytestmark = pytest.mark.django_db
DAY = 86_400
WEEK = Ages(finished=7 * DAY, dead=None)
EVERYTHING = Ages(finished=7 * DAY, dead=7 * DAY)


def purge(tenant: Tenant, ages: Ages, limit: int = 100) -> int:
    """Purge in slices of so many; answers how many went."""
    purged, after = 0, store.FIRST_ID
    until = store.horizon(ages.least or 0)
    while True:
        old, last = store.find_old(tenant.pk, ages, after=after, until=until, limit=limit)
        purged += store.purge(old, ages)
        if last is None:
            return purged
        after = last


@pytest.mark.parametrize("status", sorted(Status))
def test_old_jobs_go_if_they_have_ended(alice: Tenant, status: Status) -> None:
    (job_id,) = age([job_in(status, alice)], days=8)
    assert purge(alice, EVERYTHING) == (status in TERMINAL)
    assert Job.objects.filter(pk=job_id).exists() == (status not in TERMINAL)


def test_dead_letters_stay_for_their_own_time(alice: Tenant) -> None:
    dead, _ = age([job_in(Status.DLQ, alice), job_in(Status.DONE, alice)], days=8)
    assert purge(alice, WEEK) == 1
    assert purge(alice, Ages(finished=None, dead=9 * DAY)) == 0
    assert list(Job.objects.values_list("pk", flat=True)) == [dead]
    assert purge(alice, Ages(finished=None, dead=7 * DAY)) == 1


@pytest.mark.parametrize("days", [0, 6])
def test_young_jobs_stay(alice: Tenant, days: int) -> None:
    age([job_in(status, alice) for status in sorted(TERMINAL)], days=days)
    assert purge(alice, EVERYTHING) == 0


def test_age_begins_with_the_end(alice: Tenant) -> None:
    (job_id,) = age([job_in(Status.DONE, alice)], days=8)
    Job.objects.filter(pk=job_id).update(finished_at=Now())
    assert purge(alice, EVERYTHING) == 0


def test_jobs_of_others_stay(alice: Tenant, mallory: Tenant) -> None:
    age([job_in(Status.DONE, alice), job_in(Status.DONE, mallory)], days=8)
    assert purge(alice, EVERYTHING) == 1
    assert Job.objects.get().tenant == mallory


def test_what_belongs_to_an_old_job_goes_with_it_and_nothing_else(alice: Tenant) -> None:
    old = job_in(Status.DLQ, alice, tags=("red",))
    young = job_in(Status.DLQ, alice, tags=("red",))
    age([old], days=8)
    assert purge(alice, EVERYTHING) == 1
    assert [row.job_id for row in Attempt.objects.all()] == [young]
    assert [row.job_id for row in JobTag.objects.all()] == [young]


def test_key_of_a_purged_job_is_free_again(alice: Tenant) -> None:
    finish(claim_one(alice, idempotency_key="k"), Status.DONE)
    (old,) = age(Job.objects.values_list("pk", flat=True), days=8)
    purge(alice, WEEK)
    (new,) = submit(alice, idempotency_key="k")
    assert new != old


def test_purged_jobs_are_counted_and_ended_ones_stay_counted(alice: Tenant) -> None:
    for queue in ("a", "b", "b"):
        age([job_in(Status.DONE, alice, queue=queue)], days=8)
    store.discard([job_in(Status.DLQ, alice)])
    purge(alice, WEEK)
    sums = LaneMinute.objects.values_list("lane_id").annotate(
        Sum("done"), Sum("purged"), Sum("dead")
    )
    lanes = dict(alice.lanes.values_list("pk", "queue"))
    counted = {lanes[lane_id]: tuple(of_lane) for lane_id, *of_lane in sums}
    assert counted == {"a": (1, 1, 0), "b": (2, 2, 0), "default": (0, 1, 1)}


def test_slices_go_through_all_jobs_and_end(alice: Tenant) -> None:
    old = age([job_in(Status.DONE, alice) for _ in range(7)], days=8)
    submit(alice)
    for limit in (3, 4):
        assert slices(alice, limit) == [old[start : start + limit] for start in range(0, 7, limit)]
    assert purge(alice, WEEK, limit=3) == 7


def slices(tenant: Tenant, limit: int) -> list[list[uuid.UUID]]:
    found, after = [], store.FIRST_ID
    until = store.horizon(7 * DAY)
    while True:
        old, last = store.find_old(tenant.pk, WEEK, after=after, until=until, limit=limit)
        found.append(old)
        if last is None:
            return found
        after = last


def test_dead_letter_that_went_back_meanwhile_stays(alice: Tenant) -> None:
    (dead,) = age([job_in(Status.DLQ, alice)], days=8)
    store.redrive([dead])
    assert store.purge([dead], EVERYTHING) == 0
    assert Job.objects.get().status == Status.PENDING


def test_nothing_gets_old_for_ever(alice: Tenant) -> None:
    assert Ages(None, None).least is None
    age([job_in(status, alice) for status in sorted(TERMINAL)], days=10_000)
    for ages in (Ages(None, None), Ages(1e18, 1e18)):
        assert purge(alice, ages) == 0


@pytest.mark.django_db(transaction=True)
def test_those_who_purge_at_once_delete_each_job_once(alice: Tenant) -> None:
    old = age([job_in(Status.DONE, alice) for _ in range(40)], days=8)
    purged = together([lambda: store.purge(old, WEEK) for _ in range(4)])
    assert sum(purged) == 40
    assert LaneMinute.objects.aggregate(n=Sum("purged"))["n"] == 40


@pytest.mark.django_db(transaction=True)
def test_dead_letter_is_either_purged_or_sent_back(alice: Tenant) -> None:
    old = age([job_in(Status.DLQ, alice) for _ in range(40)], days=8)
    halves = [old[:20], old[20:]]
    actions: list[Callable[[], int]] = [partial(store.purge, half, EVERYTHING) for half in halves]
    actions += [lambda half=half: len(store.redrive(half)) for half in reversed(halves)]
    *purged, first, second = together(actions)
    assert sum(purged) == LaneMinute.objects.aggregate(n=Sum("purged"))["n"]
    assert first + second == Job.objects.filter(status=Status.PENDING).count()
    assert sum(purged) + Job.objects.count() == 40


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_has_the_turn(db: None) -> None:
    assert sum(together([lambda: store.take_turn("a", 600) for _ in range(6)])) == 1
    assert not store.take_turn("a", 600)
    assert store.take_turn("b", 600)
