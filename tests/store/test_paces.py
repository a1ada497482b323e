"""What is paid for starts, on clocks of their own."""

from datetime import timedelta

import pytest
from django.db.models import F

from jobs import services
from jobs.models import StartClock, Tenant
from tests.store.steps import claim, database_time, lane_of, submit

pytestmark = pytest.mark.django_db
ACTOR = "command:test"


def test_time_without_starts_adds_nothing_to_the_burst(alice: Tenant) -> None:
    lane = lane_of(alice)
    services.change_limits(lane, actor=ACTOR, starts_per_minute=1, start_burst=2)
    submit(alice, 9)
    assert len(claim(lane, quota=1)) == 1
    long_ago = (database_time() - timedelta(hours=1)).timestamp()
    StartClock.objects.update(paid_off_at=long_ago)
    assert [len(claim(lane)) for _ in range(2)] == [2, 0]


def test_every_start_is_paid_and_nothing_else(alice: Tenant) -> None:
    lane = lane_of(alice)
    services.change_limits(lane, actor=ACTOR, starts_per_minute=1, start_burst=5)
    submit(alice, 3)
    before = database_time().timestamp()
    assert [len(claim(lane)), len(claim(lane))] == [3, 0]
    (clock,) = StartClock.objects.all()
    assert clock.holder == f"L{lane.pk}"
    assert clock.paid_off_at - before == pytest.approx(3 * 60, abs=5)


def test_clock_that_was_set_back_holds_up_no_start(alice: Tenant) -> None:
    lane = lane_of(alice)
    services.change_limits(lane, actor=ACTOR, starts_per_minute=60, start_burst=2)
    submit(alice, 9)
    an_hour_on = (database_time() + timedelta(hours=1)).timestamp()
    StartClock.objects.create(holder=f"L{lane.pk}", paid_off_at=an_hour_on)
    assert len(claim(lane)) == 2
    ahead = StartClock.objects.get().paid_off_at - database_time().timestamp()
    assert ahead < 60, "and the starts are paid as always"


def test_clock_that_was_set_back_a_little_opens_no_burst(alice: Tenant) -> None:
    lane = lane_of(alice)
    services.change_limits(lane, actor=ACTOR, starts_per_minute=1, start_burst=2)
    submit(alice, 9)
    assert len(claim(lane)) == 2
    StartClock.objects.update(paid_off_at=F("paid_off_at") + 30)
    assert claim(lane) == []
