"""What the claimer asks the store for."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from jobs import services, store
from jobs.conf import conf
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.store.steps import WORKER, outcome, submit
from workers import claimer
from workers.begins import Begins
from workers.claimer import START_SECONDS, Claimer
from workers.held import HeldJob, HeldJobs

pytestmark = pytest.mark.django_db


class Slots:
    """A claimer whose jobs end as soon as the test says."""

    def __init__(self, *queues: str) -> None:
        self.held = HeldJobs(10)
        self.started: list[HeldJob] = []
        self.claimer = Claimer(
            WORKER, self.held, queues=queues, tags=(), run=lambda jobs: self.started.extend(jobs)
        )

    def tick_until_idle(self) -> None:
        while self.claimer.tick() <= START_SECONDS:
            pass

    def claim_by_one_look(self) -> None:
        """Claim what there is by a look of now, which is believed from then on."""
        self.claimer._look_again_at = 0
        self.claimer.tick()
        self.claimer._look_again_at = math.inf
        self.tick_until_idle()

    def hold(self, seconds: Mapping[str, float]) -> None:
        """Let what has started have run for so long, by tenant."""
        for one in self.started:
            one.ended_at = time.monotonic()
            one.started_at = one.ended_at - seconds[one.job.tenant]

    def end_all(self) -> None:
        store.finish(WORKER, [outcome(one.job, Status.DONE) for one in self.started])
        self._let_go(list(self.started))

    def relay_all(self, status: Status = Status.DONE) -> None:
        """Have the claimer record that all have ended, as the finisher does."""
        self.relay(list(self.started), status)

    def relay(self, ended: Sequence[HeldJob], status: Status = Status.DONE) -> None:
        assert len(self.claimer.finish([outcome(one.job, status) for one in ended])) == len(ended)
        self._let_go(ended)

    def _let_go(self, ended: Sequence[HeldJob]) -> None:
        self.held.remove(ended)
        self.started = [one for one in self.started if one not in ended]


class EndsWhenWaitedFor:
    """A claimer's turn that ends as soon as somebody waits for that."""

    def acquire(self, *, timeout: float) -> bool:
        return timeout > 0

    def release(self) -> None:
        pass


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[store.ReadyLane]]:
    """What each look at the lanes has found."""
    found: list[Sequence[store.ReadyLane]] = []
    look = store.ready_lanes

    def noted(*args: object, **options: object) -> Sequence[store.ReadyLane]:
        found.append(look(*args, **options))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(store, "ready_lanes", noted)
    return found


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


class TestPlacesOfJobsThatHaveEnded:
    """They are taken in the commit that frees them, where limits alone hold the next ones back."""

    LIMIT = 2

    @pytest.fixture
    def limited(self, make_tenant: Callable[..., Tenant], slots: Slots) -> Tenant:
        """A tenant at its limit, with jobs that wait for it."""
        tenant = make_tenant("limited", max_running=self.LIMIT)
        submit(tenant, 20)
        slots.claim_by_one_look()
        assert len(slots.started) == self.LIMIT
        return tenant

    def test_they_are_taken_by_the_next_jobs_of_the_tenant(
        self, limited: Tenant, slots: Slots, looks: list[Sequence[store.ReadyLane]]
    ) -> None:
        for _ in range(4):
            slots.relay_all()
            assert len(slots.started) == len(slots.held) == self.LIMIT
            slots.claimer.tick()
            assert len(slots.started) == self.LIMIT, "there is no more room than before"
        assert (looks, Job.objects.filter(status=Status.DONE).count()) == ([], 4 * self.LIMIT)

    def test_last_jobs_leave_them_free(self, limited: Tenant, slots: Slots) -> None:
        for _ in range(20 // self.LIMIT):
            slots.relay_all()
        assert (len(slots.started), len(slots.held)) == (0, 0)
        submit(limited)
        slots.claim_by_one_look()
        assert len(slots.started) == 1

    def test_they_are_divided_among_its_queues(self, limited: Tenant, slots: Slots) -> None:
        submit(limited, 20, queue="other")
        slots.end_all()
        slots.claim_by_one_look()
        queues: Counter[str] = Counter()
        for _ in range(6):
            queues.update(one.job.queue for one in slots.started)
            slots.relay_all()
        assert queues == {"default": 6, "other": 6}

    @pytest.mark.parametrize("max_running", [None, 30])
    def test_nobody_takes_them_before_another_tenant_that_has_room(
        self, limited: Tenant, alice: Tenant, slots: Slots, max_running: int | None
    ) -> None:
        Tenant.objects.filter(pk=alice.pk).update(max_running=max_running)
        submit(alice, 40)
        slots.end_all()
        slots.claim_by_one_look()
        slots.relay([one for one in slots.started if one.job.tenant == "limited"])
        assert {one.job.tenant for one in slots.started} == {"alice"}

    def test_workers_of_other_queues_have_turns(
        self, limited: Tenant, slots: Slots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claimer, "LEAVE_EVERY_SECONDS", (0, 0.05))
        submit(limited, 1_000)
        submit(limited, queue="other")
        slots.end_all()
        here, there = Slots("default"), Slots("other")
        until = time.monotonic() + 10
        while not there.started and time.monotonic() < until:
            here.claimer.tick()
            here.relay_all()
            there.claimer._look_again_at = 0
            there.claimer.tick()
        assert [one.job.queue for one in there.started] == ["other"]
        assert Job.objects.filter(status=Status.DONE).count() < 1_000, "it did not wait for all"

    def test_nobody_takes_more_of_them_than_can_start_soon(
        self, limited: Tenant, slots: Slots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            slots.claimer, "_pace", SimpleNamespace(buffer=lambda _: 0, note=lambda *_: None)
        )
        slots.held.slots = 1
        slots.relay_all()
        assert len(slots.started) == 1

    def test_nobody_takes_them_by_a_look_of_long_ago(self, limited: Tenant, slots: Slots) -> None:
        """Who came since then has had no chance."""
        slots.claimer._look_again_at = 0
        slots.relay_all()
        assert slots.started == []

    def test_nobody_takes_them_after_an_attempt_that_failed(
        self, limited: Tenant, slots: Slots
    ) -> None:
        slots.relay_all(Status.FAILED)
        assert slots.started == []

    def test_nobody_takes_them_in_a_worker_that_is_to_be_quiet(
        self, limited: Tenant, slots: Slots
    ) -> None:
        slots.claimer.set_quiet(True)
        slots.relay_all()
        assert slots.started == []

    def test_nobody_takes_them_in_a_worker_that_drains(self, limited: Tenant, slots: Slots) -> None:
        slots.claimer._stopping.set()
        slots.relay_all()
        assert slots.started == []

    def test_once_the_claimer_has_stopped_nobody_is_taking_them(
        self, slots: Slots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = SimpleNamespace(join=lambda timeout: None, is_alive=lambda: False)
        monkeypatch.setattr(slots.claimer, "_thread", ended)
        with slots.claimer._turn:
            assert not slots.claimer.stop(timeout=0.01), "the finisher takes some"
        assert slots.claimer.stop(timeout=0.01)

    def test_nobody_takes_them_while_the_claimer_claims(
        self, limited: Tenant, slots: Slots
    ) -> None:
        with slots.claimer._turn:
            slots.relay_all()
        assert slots.started == []

    def test_outcomes_are_recorded_where_somebody_holds_up_the_relay(
        self, limited: Tenant, slots: Slots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def wait_in_vain(*args: object, **named: object) -> None:
            raise OperationalError from LockNotAvailable()

        monkeypatch.setattr(store, "relay", wait_in_vain)
        slots.relay_all()
        assert Job.objects.filter(status=Status.DONE).count() == self.LIMIT

    def test_once_they_were_taken_the_next_wait_for_the_claimer_to_end(
        self, limited: Tenant, slots: Slots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slots.relay_all()
        monkeypatch.setattr(slots.claimer, "_turn", EndsWhenWaitedFor())
        slots.relay_all()
        assert len(slots.started) == self.LIMIT

    def test_they_are_taken_by_a_look_that_found_none_free(
        self, limited: Tenant, slots: Slots, looks: list[Sequence[store.ReadyLane]]
    ) -> None:
        for _ in range(3):
            slots.claim_by_one_look()
            slots.relay_all()
            assert len(slots.started) == self.LIMIT
        assert [[lane.has_room for lane in found] for found in looks] == [[False]] * 3

    def test_others_are_looked_for_when_they_are_heard_of(
        self, limited: Tenant, alice: Tenant, slots: Slots
    ) -> None:
        slots.claim_by_one_look()
        submit(alice)
        slots.claimer.hear()
        slots.claimer.tick()
        assert {one.job.tenant for one in slots.started} == {"limited", "alice"}

    def test_outcomes_that_could_not_be_recorded_are_recorded_later(
        self, limited: Tenant, slots: Slots, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **options: object) -> None:
            raise OperationalError

        with monkeypatch.context() as broken:
            broken.setattr(store, "relay", fail)
            with pytest.raises(OperationalError):
                slots.relay_all()
        slots.relay_all()
        slots.tick_until_idle()
        assert len(slots.started) == self.LIMIT
