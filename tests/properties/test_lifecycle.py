"""Random operations on the real store, compared with a small model after each of them.

Everybody acts, in any order: submitters, workers that hold a lease or held one once, workers that
vanish, the reaper and the promoter, operators, and the clock. Time is the database's and cannot be
moved, so a step of the clock moves all that is dated instead: for the rest of the time it is the
same.

By default the steps are the same ones in every run. `PROPERTY_EXAMPLES=5000` tries so many random
sequences instead; their seed is printed, and `PROPERTY_SEED` repeats them.
"""

import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from django.db.models import Count, F, Sum
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jobs import models, services, store
from jobs.models import Attempt, LaneMinute, StartClock, SubmissionSecond, TaskLimit
from jobs.statuses import TERMINAL, WAITING, Status
from jobs.store import Ages, Lease, Marks
from jobs.store.dialect import is_postgresql
from jobs.submission import NewJob
from tests.properties.limits import as_fields
from tests.properties.looks import Clock, View
from tests.properties.model import (
    BACKOFF,
    DEAD_KEPT,
    KEPT,
    LEASE,
    Grant,
    Lane,
    World,
    holders,
)
from tests.properties.steps import ENDINGS, QUEUES, TENANTS, WORKERS, Step, recent, steps
from tests.store.steps import lane_of, outcome
from workers import claimer
from workers.begins import Begins

ACTOR = "command:test"
ACTIONS: dict[str, tuple[Callable[[Iterable[uuid.UUID]], list[uuid.UUID]], set[Status]]] = {
    "cancel": (store.cancel, {*WAITING, Status.RUNNING}),
    "retry": (store.retry, {Status.FAILED}),
    "redrive": (store.redrive, {Status.DLQ}),
    "discard": (store.discard, {Status.DLQ}),
}
MODELLED = ("status", "attempt", "lost_count", "fence", "cancel_requested")
COLUMNS = (*MODELLED, "pk", "tenant__slug", "max_retries", "lease_expires_at", "finished_at")
AGES = Ages(finished=KEPT, dead=DEAD_KEPT)
LAST_ID = uuid.UUID(int=2**128 - 1)
TABLES = (Attempt, models.Job, LaneMinute, SubmissionSecond, StartClock, TaskLimit, models.Tenant)


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
        self.clock = claimer.time = Clock()  # type: ignore[assignment]
        self.begins = {worker: Begins() for worker in WORKERS}
        self.seen: dict[str, dict[Lane, store.ReadyLane]] = {}

    def teardown(self) -> None:
        claimer.time = time
        for table in TABLES:
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
        self, worker: str, lanes: list[Lane], quota: int, looks_anew: bool, pause: float
    ) -> None:
        """As a claimer does: with a look of now or of earlier, and free lanes by themselves."""
        with self.begins[worker].timed() as after:
            if looks_anew or worker not in self.seen:
                self.seen[worker] = self.look(worker, after)
            seen = self.seen[worker]
            shares = {
                lane: seen[lane].share(quota)
                if lane in seen
                else store.Share(self.lanes[lane].pk, quota)
                for lane in lanes
            }
            for at_once in (True, False):
                some = {lane: x for lane, x in shares.items() if bool(x.only_line) is at_once}
                if some:
                    self.claim_some(worker, some, after)
            self.clock.now += 1
        self.clock.now += pause

    def look(self, worker: str, after: Marks) -> dict[Lane, store.ReadyLane]:
        tags, unknown = WORKERS[worker]
        found = store.ready_lanes(tags=tags, unknown=unknown, after=after)
        seen = {self.names[lane.lane_id]: lane for lane in found}
        View(self.world, tags, unknown, after).check_look(seen)
        return seen

    def relay(self, worker: str, lanes: list[Lane], quota: int, grants: list[int]) -> None:
        """Successes, of any worker, and a claim in their places by what a look has shown."""
        seen = self.seen.get(worker, {})
        shares = {lane: seen[lane].share(quota) for lane in lanes if lane in seen}
        if shares and all(share.only_line for share in shares.values()):
            ended = recent(self.claimed, grants)
            self.claim_some(worker, shares, self.begins[worker].marks, ended)

    def claim_some(
        self,
        worker: str,
        shares: dict[Lane, store.Share],
        after: Marks,
        ended: Sequence[store.ClaimedJob] = (),
    ) -> None:
        tags, unknown = WORKERS[worker]
        done = {job.id for job in ended if self.holds(job)}
        for job_id in done:
            self.world.end(job_id, Status.DONE)
        view = View(self.world, tags, unknown, after)
        places = view.places
        options: Any = {"lease_seconds": LEASE, "unknown": unknown, "tags": tags, "after": after}
        if ended:
            outcomes = [outcome(job, Status.DONE) for job in ended]
            recorded, claimed = store.relay(worker, outcomes, list(shares.values()), **options)
            assert recorded == done
        else:
            claimed = store.claim(worker, list(shares.values()), **options)
        self.begins[worker].note(claimed)
        for job in claimed:
            assert job.waited_seconds >= 0
            self.world.grant(job.id, worker, job.fence)
        for lane, share in shares.items():
            got = {job.id for job in claimed if self.names[job.lane_id] == lane}
            # SQLite has no shorter way for a lane's only line.
            lines = {share.only_line if is_postgresql() else None} - {None}
            ready = [x for x in view.ready[lane] if not lines or places[x][0] in lines]
            assert len(got) <= share.quota
            assert got <= set(ready)
            view.check_best_first(got, ready)
            if len(shares) == 1 and len(got) < share.quota:
                self.check_nobody_waits_in_vain(set(ready) - got, share)
        # In an order that does not hang on the speed of the machine.
        self.claimed += sorted(claimed, key=lambda job: job.id)

    def check_nobody_waits_in_vain(self, left: Iterable[uuid.UUID], share: store.Share) -> None:
        """What was left has no room; or has limits that a look of earlier did not know."""
        for job in map(self.world.jobs.__getitem__, left):
            is_simple = self.world.is_simple(job.lane, job.task)
            is_limited = self.world.left(*holders(job.lane, job.task)) is not None
            is_stale = not is_simple or (is_limited and share.limited_tenant is None)
            is_told = share.only_line is not None and is_stale
            assert is_told or self.world.room(job.lane, job.task) == 0

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

    def purge(self) -> None:
        """Everything is looked at, a few jobs at a time."""
        for name, tenant in self.tenants.items():
            old: list[uuid.UUID] = []
            after: uuid.UUID | None = store.FIRST_ID
            while after is not None:
                found, after = store.find_old(tenant.pk, AGES, after=after, until=LAST_ID, limit=3)
                old += found
            assert set(old) == self.world.old(name)
            assert store.purge(old, AGES) == len(old)
            for job_id in old:
                self.world.delete(job_id)

    def pass_time(self, seconds: int) -> None:
        self.world.now += seconds
        step = timedelta(seconds=seconds)
        self.clock.now += 100  # a worker's marks do not last as long
        models.Job.objects.update(
            run_at=F("run_at") - step,
            lease_expires_at=F("lease_expires_at") - step,
            finished_at=F("finished_at") - step,
        )
        StartClock.objects.update(paid_off_at=F("paid_off_at") - seconds)
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

    def set_lane(self, lane: Lane, paused: bool, **limit: Any) -> None:
        name, queue = lane
        services.set_queue_paused(self.tenants[name], queue, paused=paused, actor=ACTOR)
        (self.world.paused.add if paused else self.world.paused.discard)(lane)
        self.lanes[lane].refresh_from_db()
        services.change_limits(self.lanes[lane], actor=ACTOR, **as_fields(**limit))
        self.world.limits["lane", name, queue].change(**limit, now=self.world.now)

    def set_tenant(
        self, tenant: str, rate: int | None, max_pending: int | None, is_active: bool, **limit: Any
    ) -> None:
        others = {
            "submissions_per_minute": rate, "max_pending": max_pending, "is_active": is_active,
        }  # fmt: skip
        fields = others | as_fields(**limit)
        services.change_limits(self.tenants[tenant], actor=ACTOR, **fields)
        known = self.world.tenants[tenant]
        known.rate, known.max_pending, known.is_active = rate, max_pending, is_active
        self.world.limits["tenant", tenant].change(**limit, now=self.world.now)

    def set_task(self, tenant: str, task: str, **limit: Any) -> None:
        """Of a tenant, or of all together."""
        whose, known = self.tenants.get(tenant), self.world.limits["task", tenant, task]
        was_none = known.is_none
        known.change(**limit, now=self.world.now)
        if known.is_none:
            assert services.remove_task_limit(whose, task, actor=ACTOR) is not was_none
        else:
            services.set_task_limit(whose, task, actor=ACTOR, **as_fields(**limit))

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
        assert found + self.world.deleted == self.world.accepted, "nothing accepted is lost"

    @invariant()
    def every_failed_attempt_is_kept(self) -> None:
        counted = Attempt.objects.values_list("job").annotate(n=Count("pk"))
        assert dict(counted) == {i: j.failures for i, j in self.world.jobs.items() if j.failures}

    @invariant()
    def every_end_is_counted_once(self) -> None:
        ends = [Sum(name) for name in ("done", "failed", "dead", "cancelled", "purged")]
        sums = LaneMinute.objects.values_list("tenant_id").annotate(*ends)
        counted = {tenant_id: tuple(of_tenant) for tenant_id, *of_tenant in sums}
        for name, tenant in self.tenants.items():
            ended = [self.world.ended[name, status] for status in ENDINGS]
            expected = (*ended, self.world.deleted[name])
            assert counted.get(tenant.pk, (0,) * 5) == expected

    @invariant()
    def look_shows_the_lanes_with_room(self) -> None:
        self.look("w2", {})


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
