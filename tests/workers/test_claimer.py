"""What the claimer asks the store for."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import OperationalError

from jobs import services, store
from jobs.conf import conf
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.store.steps import submit
from tests.workers.slots import Slots
from workers.begins import Begins
from workers.claimer import START_SECONDS

pytestmark = pytest.mark.django_db


def test_idle_worker_that_hears_of_work_claims_where_the_last_was_before_it_looks(
    alice: Tenant, slots: Slots, looks: list[Sequence[store.ReadyLane]]
) -> None:
    submit(alice)
    slots.tick_until_idle()
    slots.end_all()
    slots.tick_until_idle()
    looks.clear()
    submit(alice, 3)
    slots.claimer.hear()
    assert slots.claimer.tick() <= START_SECONDS
    assert (len(slots.started), looks) == (1, [])
    slots.tick_until_idle()
    assert len(slots.started) == 3


def test_work_that_is_elsewhere_is_found_by_the_look(
    alice: Tenant, mallory: Tenant, slots: Slots
) -> None:
    submit(alice)
    slots.tick_until_idle()
    slots.end_all()
    slots.tick_until_idle()
    submit(mallory)
    slots.claimer.hear()
    assert slots.claimer.tick() == 0
    assert [one.job.tenant for one in slots.started] == ["mallory"]


def test_lane_that_was_paused_meanwhile_gives_nothing(alice: Tenant, slots: Slots) -> None:
    submit(alice)
    slots.tick_until_idle()
    slots.end_all()
    slots.tick_until_idle()
    submit(alice)
    services.set_queue_paused(alice, "default", paused=True, actor="command:test")
    slots.claimer.hear()
    assert slots.claimer.tick() > 0
    assert slots.started == []


def test_job_of_a_task_that_is_unknown_here_is_claimed_once_and_no_more(
    alice: Tenant, slots: Slots
) -> None:
    (job_id,) = submit(alice, task="known.elsewhere")
    slots.tick_until_idle()
    fence = Job.objects.get(pk=job_id).fence
    for _ in range(3):
        slots.claimer._begins = Begins()  # lines are read from their beginnings now and then
        slots.claimer.hear()
        slots.claimer.tick()
    assert Job.objects.get(pk=job_id).fence == fence == 1
    assert slots.started == []


def test_queues_of_a_tenant_at_its_limit_take_turns(
    make_tenant: Callable[..., Tenant], slots: Slots
) -> None:
    tenant, queues = make_tenant("limited", max_running=1), []
    for queue in ("first", "second"):
        submit(tenant, 20, queue=queue)
    for _ in range(8):
        slots.claimer._look_again_at = 0  # its job takes for longer than a look is believed
        slots.tick_until_idle()
        (one,) = slots.started
        queues.append(one.job.queue)
        slots.hold({"limited": 0.005})
        slots.claimer._look_again_at = 0
        slots.claimer.tick()
        slots.end_all()
    assert sorted(queues) == ["first"] * 4 + ["second"] * 4


def test_worker_that_is_full_does_not_look(
    alice: Tenant, slots: Slots, looks: list[Sequence[store.ReadyLane]]
) -> None:
    submit(alice, 50)
    slots.tick_until_idle()
    looks.clear()
    slots.claimer._look_again_at = 0
    assert slots.claimer.tick() == conf().poll_interval_seconds
    assert looks == []


def test_place_that_comes_free_is_filled_from_the_last_look(
    make_tenant: Callable[..., Tenant], slots: Slots, looks: list[Sequence[store.ReadyLane]]
) -> None:
    submit(make_tenant("limited", max_running=1), 2)
    assert slots.claimer.tick() == 0
    slots.claimer._look_again_at = math.inf
    slots.end_all()
    assert slots.claimer.tick() == 0
    assert (len(slots.started), len(looks)) == (1, 1)


def test_idle_worker_waits_until_a_pace_opens_and_no_longer(alice: Tenant, slots: Slots) -> None:
    submit(alice, 2)
    services.change_limits(alice, actor="command:test", starts_per_minute=60, start_burst=1)
    assert slots.claimer.tick() == 0
    slots.claimer._look_again_at = 0
    slots.claimer._begins = Begins()
    assert slots.claimer.tick() < conf().poll_interval_seconds


def test_long_jobs_count_by_the_slots_they_hold(
    alice: Tenant, mallory: Tenant, slots: Slots
) -> None:
    submit(alice, 400)
    submit(mallory, 1_200)
    seconds, taken = {"alice": 0.2, "mallory": 0.02}, Counter[str]()
    for _ in range(40):
        slots.tick_until_idle()
        slots.hold(seconds)
        for one in slots.started:
            taken[one.job.tenant] += 1
        slots.end_all()
    held = [taken[tenant] * seconds[tenant] for tenant in seconds]
    assert min(taken.values()) > 20
    assert max(held) <= 1.3 * min(held), "each had the slots for as long as the other"


def test_jobs_go_back_unspent_if_the_answer_to_their_claim_is_lost(
    alice: Tenant, slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, 4)
    (seen,) = store.ready_lanes()
    store.claim("another worker", [seen.share(1)], lease_seconds=30)
    claim = store.claim

    def lose_the_answer(*args: Any, **named: Any) -> None:
        claim(*args, **named)
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as broken:
        broken.setattr(store, "claim", lose_the_answer)
        with pytest.raises(OperationalError):
            slots.claimer.tick()
    assert Job.objects.filter(status=Status.RUNNING).count() == 4
    assert slots.claimer.is_in_doubt
    slots.tick_until_idle()
    assert [one.job.attempt for one in slots.started] == [1, 1, 1]
    slots.claimer._doubt_at = 0
    slots.claimer.tick()
    assert not slots.claimer.is_in_doubt
    assert Job.objects.filter(status=Status.RUNNING).count() == 4, "what it runs stays its own"
