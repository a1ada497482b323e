"""What a tenant may submit, counted exactly."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import store
from jobs.models import SubmissionSecond, Tenant
from jobs.statuses import WAITING, Status
from jobs.store.dialect import fetch
from jobs.store.limits import WINDOW_SECONDS, _wait
from tests.harness import wait_until
from tests.store.steps import database_time, job_in

pytestmark = pytest.mark.django_db


def submitted(tenant: Tenant, seconds_ago: int, count: int) -> int:
    """Have the tenant submitted so many jobs so long ago; answers the second."""
    second = int(database_time().timestamp()) - seconds_ago
    SubmissionSecond.objects.create(tenant_id=tenant.pk, second=second, submitted=count)
    return second


def test_submissions_within_the_limit_are_taken(alice: Tenant) -> None:
    assert [store.take_submissions(alice.pk, count=5, limit=10) for _ in range(2)] == [0, 0]


def test_submissions_of_the_same_second_add_up(alice: Tenant) -> None:
    waits = [store.take_submissions(alice.pk, count=3, limit=10) for _ in range(4)]
    assert [wait > 0 for wait in waits] == [False, False, False, True]


def test_submissions_above_the_limit_wait_and_are_not_counted(alice: Tenant) -> None:
    store.take_submissions(alice.pk, count=8, limit=10)
    assert store.take_submissions(alice.pk, count=3, limit=10) > 0
    assert store.take_submissions(alice.pk, count=2, limit=10) == 0


def test_limits_of_tenants_are_apart(alice: Tenant, mallory: Tenant) -> None:
    store.take_submissions(mallory.pk, count=10, limit=10)
    assert store.take_submissions(alice.pk, count=10, limit=10) == 0


def test_second_counts_until_it_has_left_the_window_as_a_whole(alice: Tenant) -> None:
    submitted(alice, WINDOW_SECONDS - 1, 10)
    assert store.take_submissions(alice.pk, count=1, limit=10) in {1, 2}


def test_second_that_left_the_window_no_longer_counts(alice: Tenant) -> None:
    submitted(alice, WINDOW_SECONDS + 2, 10)
    assert store.take_submissions(alice.pk, count=10, limit=10) == 0
    assert SubmissionSecond.objects.count() == 1


def test_second_is_the_same_to_its_end() -> None:
    def late_in_a_second() -> tuple[float, int, float] | None:
        ((before, second, after),) = fetch("SELECT MOMENT(), EPOCH(), MOMENT()", {})
        return (before, second, after) if before % 1 > 0.6 else None

    before, second, after = wait_until(late_in_a_second, timeout=60)
    assert math.floor(before) <= second <= math.floor(after)


def test_clock_that_was_set_back_holds_up_no_submission(alice: Tenant) -> None:
    submitted(alice, -3_600, 10)
    assert store.take_submissions(alice.pk, count=10, limit=10) == 0
    assert 0 < store.take_submissions(alice.pk, count=1, limit=10) <= WINDOW_SECONDS + 1


def test_second_that_a_clock_set_back_a_little_is_yet_to_reach_counts(alice: Tenant) -> None:
    submitted(alice, -5, 10)
    assert store.take_submissions(alice.pk, count=1, limit=10) > WINDOW_SECONDS


def test_wait_is_until_enough_seconds_have_left(alice: Tenant) -> None:
    submitted(alice, 50, 3)
    submitted(alice, 30, 7)
    assert store.take_submissions(alice.pk, count=3, limit=10) in {10, 11}
    assert store.take_submissions(alice.pk, count=4, limit=10) in {30, 31}


def test_limit_of_nothing_takes_nothing(alice: Tenant) -> None:
    assert store.take_submissions(alice.pk, count=1, limit=0) > 0


_WINDOWS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), unique_by=lambda w: w[0])


@given(ages=_WINDOWS, count=st.integers(1, 10), limit=st.integers(10, 30))
def test_after_the_wait_there_is_room_and_a_second_earlier_there_is_not(
    ages: list[tuple[int, int]], count: int, limit: int
) -> None:
    now = 1_000
    window = [(now - age, submitted, now) for age, submitted in sorted(ages, reverse=True)]

    def counted(after: int) -> int:
        return sum(s for second, s, _ in window if second >= now + after - WINDOW_SECONDS)

    wait = _wait(window, count, limit)
    assert counted(wait) + count <= limit
    assert wait == 0 or counted(wait - 1) + count > limit


@pytest.mark.parametrize("status", sorted(Status))
def test_jobs_that_wait_are_counted(alice: Tenant, mallory: Tenant, status: Status) -> None:
    job_in(status, mallory)
    job_in(status, alice)
    assert store.count_waiting(alice.pk, at_most=10) == (1 if status in WAITING else 0)


def test_count_stops_where_the_caller_stops_caring(alice: Tenant) -> None:
    for number in range(4):
        job_in(Status.SCHEDULED, alice)
        job_in(Status.PENDING, alice, queue=f"queue-{number}")
    assert store.count_waiting(alice.pk, at_most=100) == 8
    assert store.count_waiting(alice.pk, at_most=3) == 3
