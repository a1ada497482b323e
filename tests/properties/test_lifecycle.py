"""Random operations on the real store, compared with a small model after each of them.

Everybody acts, in any order: submitters, workers that hold a lease or held one once, workers that
vanish, the reaper and the promoter, operators, and the clock. Time is the database's and cannot be
moved, so a step of the clock moves all that is dated instead: for the rest of the time it is the
same.

By default the steps are the same ones in every run. `PROPERTY_EXAMPLES=5000` tries so many random
sequences instead; their seed is printed, and `PROPERTY_SEED` repeats them.
"""

import itertools
import os
import random
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar

import hypothesis
import pytest
from django.db.models import Count, F, Sum
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jobs import models, services, store
from jobs.models import Attempt, LaneMinute, SubmissionSecond
from jobs.statuses import TERMINAL, WAITING, Status
from jobs.store import Lease
from jobs.submission import NewJob
from tests.properties.model import BACKOFF, LEASE, STEP, Grant, LaneSettings, World
from tests.store.steps import lane_of, outcome

T = TypeVar("T")
ACTOR = "command:test"
TENANTS, QUEUES, WORKERS = ["alice", "bob"], ["a", "b"], ["w1", "w2"]
TASKS = ["echo", "strange"]
ENDINGS = [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED]
ACTIONS: dict[str, tuple[Callable[[Iterable[uuid.UUID]], list[uuid.UUID]], set[Status]]] = {
    "cancel": (store.cancel, {*WAITING, Status.RUNNING}),
    "retry": (store.retry, {Status.FAILED}),
    "redrive": (store.redrive, {Status.DLQ}),
    "discard": (store.discard, {Status.DLQ}),
}
Step = tuple[str, dict[str, Any]]
MODELLED = ("status", "attempt", "lost_count", "fence", "cancel_requested")
COLUMNS = (*MODELLED, "pk", "tenant__slug", "max_retries", "lease_expires_at", "finished_at")
LANES = list(itertools.product(TENANTS, QUEUES))
LIMITS = [None, None, None, None, 0, 1, 2, 3]


def a_job(chance: random.Random) -> NewJob:
    """Any; one with a key has few contents, so that the same request comes again."""
    key = chance.choice([None] * 4 + ["k1", "k2"])
    kind = chance if key is None else random.Random(chance.choice([1, 1, 1, 2]))
    new = NewJob(
        task=kind.choice(TASKS),
        queue=kind.choice(QUEUES),
        priority=kind.randint(-1, 1),
        max_retries=kind.randint(0, 3),
        delay_seconds=kind.choice([None] * 6 + [STEP // 2, STEP + STEP // 2]),
        idempotency_key=key,
    )
    return replace(new, request_hash=sha256(repr(new).encode()).hexdigest())


def some(chance: random.Random) -> list[int]:
    """Up to three jobs or leases, by how many came later."""
    return chance.sample(range(8), chance.randint(1, 3))


STEPS: dict[str, tuple[int, Callable[[random.Random], dict[str, Any]]]] = {
    "submit": (4, lambda c: {
        "tenant": c.choice(TENANTS),
        "batch": [a_job(c) for _ in range(c.randint(1, 4))],
    }),
    "claim": (4, lambda c: {
        "worker": c.choice(WORKERS),
        "lanes": c.sample(LANES, c.choice([1, 2, 4, 4])),
        "quota": c.randint(1, 3),
        "unknown": c.choice([(), (), ("strange",)]),
    }),
    "finish": (3, lambda c: {"grants": some(c), "fates": c.choices(ENDINGS, k=3)}),
    "finish_all": (1, lambda c: {"worker": c.choice(WORKERS), "fate": c.choice(ENDINGS)}),
    "extend": (1, lambda c: {"grants": some(c)}),
    "release": (1, lambda c: {"grants": some(c)}),
    "die": (1, lambda c: {"worker": c.choice(WORKERS), "started": c.randint(0, 3)}),
    # A machine that vanishes does nothing more: that needs no step.
    "pass_time": (3, lambda c: {"seconds": c.choice([STEP, STEP, 2 * STEP, -STEP])}),
    "reap": (2, lambda c: {}),
    "promote": (2, lambda c: {}),
    "operate": (3, lambda c: {"action": c.choice(sorted(ACTIONS)), "jobs": some(c)}),
    "clear_up": (1, lambda c: {
        "action": c.choice(["retry", "redrive", "discard"]), "jobs": list(range(20)),
    }),
    "set_lane": (1, lambda c: {
        "lane": c.choice(LANES), "paused": c.random() < 0.3, "limit": c.choice(LIMITS),
    }),
    "set_tenant": (1, lambda c: {
        "tenant": c.choice(TENANTS),
        "max_running": c.choice(LIMITS),
        "rate": c.choice([None, None, 3, 6]),
        "max_pending": c.choice([None, None, 4]),
        "is_active": c.random() < 0.9,
    }),
}  # fmt: skip
"""What can happen, how often beside the others, and how."""


def a_step(seed: int) -> Step:
    chance = random.Random(seed)
    (name,) = chance.choices(list(STEPS), [weight for weight, _ in STEPS.values()])
    return name, STEPS[name][1](chance)


# Numbers that Hypothesis draws evenly; left to itself it would hardly ever get to deep states.
steps = st.integers(0, 2**62).map(a_step)


class Lifecycle(RuleBasedStateMachine):
    """The store and its model, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(TENANTS, QUEUES)
        unlimited = {"max_running": None, "submissions_per_minute": None}
        self.tenants = {
            name: models.Tenant.objects.create(slug=name, **unlimited) for name in TENANTS
        }
        self.lanes = {name: lane_of(self.tenants[name[0]], name[1]) for name in self.world.lanes}
        self.submitted: list[uuid.UUID] = []
        self.claimed: list[store.ClaimedJob] = []
        self.names = {lane.pk: name for name, lane in self.lanes.items()}

    def teardown(self) -> None:
        for table in (Attempt, models.Job, LaneMinute, SubmissionSecond, models.Tenant):
            table.objects.all().delete()

    # One rule: of several, Hypothesis would leave out half, and a queue needs all of its roles.
    @rule(step=steps)
    def act(self, step: Step) -> None:
        name, arguments = step
        getattr(self, name)(**arguments)

    # Submitters.

    def submit(self, tenant: str, batch: list[NewJob]) -> None:
        refusal = self.world.refusal(tenant, batch)
        if refusal:
            with pytest.raises(refusal):
                services.submit_many(self.tenants[tenant], batch)
            return
        answers = services.submit_many(self.tenants[tenant], batch)
        created = [answer.job_id for answer in answers if answer.created]
        assert len(created) == self.world.count_new(tenant, batch)
        assert not set(created) & set(self.world.jobs)
        self.world.accept(tenant, batch, [answer.job_id for answer in answers])
        self.submitted += created

    # Workers.

    def claim(
        self, worker: str, lanes: list[tuple[str, str]], quota: int, unknown: tuple[str, ...]
    ) -> None:
        could = {lane: min(quota, self.world.room(lane)) for lane in lanes}
        ready = {lane: self.world.ready(lane, unknown) for lane in lanes}
        order = list(models.Job.objects.order_by("run_at", "pk").values_list("pk", flat=True))
        shares = [store.Share(self.lanes[lane].pk, quota) for lane in lanes]
        claimed = store.claim(worker, shares, lease_seconds=LEASE, unknown=unknown)
        for job in claimed:
            assert job.waited_seconds >= 0
            self.world.grant(job.id, worker, job.fence)
        for lane in lanes:
            got = {job.id for job in claimed if self.names[job.lane_id] == lane}
            assert len(got) <= could[lane]
            assert got <= set(ready[lane])
            self.check_best_first(got, ready[lane], order)
        if len(lanes) == 1:
            assert len(claimed) == min(could[lanes[0]], len(ready[lanes[0]]))
        # In an order that does not hang on the speed of the machine.
        self.claimed += sorted(claimed, key=lambda job: job.id)

    def check_best_first(
        self, got: Collection[uuid.UUID], ready: Iterable[uuid.UUID], order: list[uuid.UUID]
    ) -> None:
        """Nobody was passed over by a lesser one, nor by a later one of the same task."""
        for left in set(ready) - set(got):
            for taken in got:
                passed, passer = self.world.jobs[left], self.world.jobs[taken]
                assert passer.priority >= passed.priority
                if (passer.priority, passer.task) == (passed.priority, passed.task):
                    assert order.index(taken) < order.index(left)

    def finish(self, grants: list[int], fates: list[Status]) -> None:
        """Of two outcomes of one attempt, the first holds."""
        self.record(list(zip(recent(self.claimed, grants), fates, strict=False)))

    def finish_all(self, worker: str, fate: Status) -> None:
        """A worker ends all that it holds."""
        held = set(self.world.held_by(worker))
        self.record([(job, fate) for job in self.claimed if (job.id, job.fence) in held])

    def record(self, fates: list[tuple[store.ClaimedJob, Status]]) -> None:
        pairs = [(job, self.possible(job, fate)) for job, fate in fates]
        recorded = {job.id: fate for job, fate in reversed(pairs) if self.holds(job)}
        outcomes = [outcome(job, fate, retry_in=BACKOFF) for job, fate in pairs]
        assert store.finish("w", outcomes) == set(recorded)
        for job_id, fate in recorded.items():
            self.world.end(job_id, fate)

    def possible(self, grant: store.ClaimedJob, status: Status) -> Status:
        """A worker does not retry beyond the last attempt."""
        is_last = grant.attempt > grant.max_retries
        return Status.DLQ if status is Status.FAILED and is_last else status

    def holds(self, grant: store.ClaimedJob) -> bool:
        return self.world.holds((grant.id, grant.fence))

    def extend(self, grants: list[int]) -> None:
        some = recent(self.claimed, grants)
        answers = store.extend(leases(some), lease_seconds=LEASE)
        assert answers == {job.id: self.world.extend(job.id) for job in some if self.holds(job)}

    def release(self, grants: list[int]) -> None:
        some = recent(self.claimed, grants)
        held = {job.id for job in some if self.holds(job)}
        assert store.release(leases(some)) == held
        for job_id in held:
            self.world.release(job_id)

    def die(self, worker: str, started: int) -> None:
        """A worker process dies; its supervisor knows what it had really started."""
        held = sorted(self.world.held_by(worker))
        charged, spared = held[:started], held[started:]
        settled = store.lose_worker(worker, [Lease(*grant) for grant in charged], backoff)
        assert list(map(set, settled)) == [ids_of(charged), ids_of(spared)]
        for job_id in ids_of(charged):
            self.world.lose(job_id)
        for job_id in ids_of(spared):
            self.world.release(job_id)

    # Those who go by the clock.

    def reap(self) -> None:
        silent = self.world.silent()
        assert set(store.reap("reaper", backoff)) == set(silent)
        for job_id in silent:
            self.world.lose(job_id)

    def promote(self) -> None:
        assert store.promote() == self.world.promote()

    def pass_time(self, seconds: int) -> None:
        self.world.now += seconds
        step = timedelta(seconds=seconds)
        models.Job.objects.update(
            run_at=F("run_at") - step, lease_expires_at=F("lease_expires_at") - step
        )
        # In an order in which no two rows are the same for a moment.
        for second in SubmissionSecond.objects.order_by("second" if seconds > 0 else "-second"):
            second.second -= seconds
            second.save(update_fields=["second"])

    # People.

    def clear_up(self, action: str, jobs: list[int]) -> None:
        """An operator goes through all that failed."""
        self.operate(action, jobs)

    def operate(self, action: str, jobs: list[int]) -> None:
        act, sources = ACTIONS[action]
        some = recent(self.submitted, jobs)
        applies = self.world.in_status(some, *sources)
        assert set(act(some)) == applies
        for job_id in applies:
            getattr(self.world, action)(job_id)

    def set_lane(self, lane: tuple[str, str], paused: bool, limit: int | None) -> None:
        name, queue = lane
        services.set_queue_paused(self.tenants[name], queue, paused=paused, actor=ACTOR)
        self.lanes[lane].refresh_from_db()
        services.change_limits(self.lanes[lane], actor=ACTOR, max_running=limit)
        self.world.lanes[lane] = LaneSettings(paused, limit)

    def set_tenant(self, tenant: str, rate: int | None, **limits: Any) -> None:
        target, known = self.tenants[tenant], self.world.tenants[tenant]
        services.change_limits(target, actor=ACTOR, submissions_per_minute=rate, **limits)
        known.rate, known.max_running = rate, limits["max_running"]
        known.max_pending, known.is_active = limits["max_pending"], limits["is_active"]

    # What holds after every step.

    @invariant()
    def tables_say_what_the_model_says(self) -> None:
        kept = {job["pk"]: job for job in models.Job.objects.values(*COLUMNS)}
        assert {job_id: tuple(job[name] for name in MODELLED) for job_id, job in kept.items()} == {
            job_id: (job.status, job.attempt, job.lost, job.fence, job.to_cancel)
            for job_id, job in self.world.jobs.items()
        }
        for job in kept.values():
            assert (job["lease_expires_at"] is not None) == (job["status"] == Status.RUNNING)
            assert (job["finished_at"] is not None) == (job["status"] in TERMINAL)
            assert 0 <= job["attempt"] <= 1 + job["max_retries"]
        found = Counter(job["tenant__slug"] for job in kept.values())
        assert found + self.world.discarded == self.world.accepted, "nothing accepted is lost"

    @invariant()
    def every_failed_attempt_is_kept(self) -> None:
        counted = Attempt.objects.values_list("job").annotate(n=Count("pk"))
        assert dict(counted) == {i: j.failures for i, j in self.world.jobs.items() if j.failures}

    @invariant()
    def every_end_is_counted_once(self) -> None:
        ends = [Sum(name) for name in ("done", "failed", "dead", "cancelled")]
        sums = LaneMinute.objects.values_list("tenant_id").annotate(*ends)
        counted = {tenant_id: tuple(of_tenant) for tenant_id, *of_tenant in sums}
        for name, tenant in self.tenants.items():
            expected = tuple(self.world.ended[name, status] for status in ENDINGS)
            assert counted.get(tenant.pk, (0, 0, 0, 0)) == expected

    @invariant()
    def look_shows_the_lanes_with_room(self) -> None:
        seen = {self.names[x.lane_id]: (x.room, x.tenant_room) for x in store.ready_lanes()}
        assert seen == {
            lane: self.world.rooms(lane)
            for lane in self.world.lanes
            if self.world.ready(lane) and self.world.room(lane) > 0
        }


def recent(things: Sequence[T], which: Iterable[int]) -> list[T]:
    """Those of the things that exist, each once, by how many came later."""
    return [things[-1 - ago] for ago in dict.fromkeys(which) if ago < len(things)]


def leases(grants: Iterable[store.ClaimedJob]) -> list[Lease]:
    return [Lease(job.id, job.fence) for job in grants]


def ids_of(grants: Iterable[Grant]) -> set[uuid.UUID]:
    return {job_id for job_id, _ in grants}


def backoff(losses: int) -> float:
    return BACKOFF


@pytest.mark.django_db(transaction=True)
def test_store_agrees_with_its_model() -> None:
    examples = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
    usual = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    if examples:
        seed = int(os.environ.get("PROPERTY_SEED") or random.SystemRandom().randrange(2**32))
        sys.stdout.write(f"PROPERTY_SEED={seed}\n")
        settings = hypothesis.settings(max_examples=examples, stateful_step_count=50, **usual)
        run_state_machine_as_test(hypothesis.seed(seed)(Lifecycle), settings=settings)
    else:
        # A failure is shown as it came: to make it smaller takes minutes.
        settings = hypothesis.settings(
            max_examples=40,
            stateful_step_count=50,
            derandomize=True,
            phases=[Phase.generate],
            **usual,
        )
        run_state_machine_as_test(Lifecycle, settings=settings)
