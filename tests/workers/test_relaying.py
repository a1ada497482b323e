"""What the claimer passes on to the next jobs, for the finisher."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from jobs import store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.store.steps import submit
from tests.workers.slots import Slots
from workers import claimer

pytestmark = pytest.mark.django_db


class EndsWhenWaitedFor:
    """A claimer's turn that ends as soon as somebody waits for that."""

    def acquire(self, *, timeout: float) -> bool:
        return timeout > 0

    def release(self) -> None:
        pass


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
