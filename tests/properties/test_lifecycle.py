"""Random operations on the real store, compared with a small model after each of them.

The model knows one thing per job: where it stands. What it says and what the tables hold must be
the same, whatever was done in whatever order.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from jobs import services, store
from jobs.conf import conf
from jobs.models import Attempt, Job, Lane, LaneMinute, Tenant
from jobs.statuses import TERMINAL, WAITING, Status, is_allowed
from jobs.store import Lease
from tests.store.steps import expire, lane_of, make_due, outcome, submit

ACTOR = "command:test"
ENDINGS = [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED]
QUEUES = ["a", "b"]
_numbers = count()


@dataclass(frozen=True)
class Expected:
    """What the model knows of a job."""

    queue: str
    priority: int
    max_retries: int
    status: Status = Status.PENDING
    attempt: int = 0
    lost: int = 0
    fence: int = 0
    to_cancel: bool = False


class Lifecycle(RuleBasedStateMachine):
    """One tenant with two lanes, and everybody who may act on its jobs."""

    jobs: Bundle[uuid.UUID] = Bundle("jobs")
    grants: Bundle[store.ClaimedJob] = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.tenant = Tenant.objects.create(
            slug=f"tenant-{next(_numbers)}", max_running=None, submissions_per_minute=None
        )
        self.lanes = {queue: lane_of(self.tenant, queue) for queue in QUEUES}
        self.model: dict[uuid.UUID, Expected] = {}
        self.ended: Counter[Status] = Counter()
        self.accepted = self.discarded = 0

    def teardown(self) -> None:
        Job.objects.all().delete()
        Attempt.objects.all().delete()

    def expect(self, job_id: uuid.UUID, status: Status, **changes: Any) -> None:
        """The job moved, as only the table of transitions allows."""
        job = self.model[job_id]
        assert is_allowed(job.status, status), f"{job.status} → {status}"
        self.model[job_id] = replace(job, status=status, **changes)

    def holds(self, grant: store.ClaimedJob) -> bool:
        job = self.model.get(grant.id)
        return job is not None and (job.status, job.fence) == (Status.RUNNING, grant.fence)

    def running(self, queue: str | None = None) -> int:
        return sum(
            job.status is Status.RUNNING and queue in {None, job.queue}
            for job in self.model.values()
        )

    # Submitters.

    @rule(
        target=jobs,
        queue=st.sampled_from(QUEUES),
        priority=st.integers(-1, 1),
        max_retries=st.integers(0, 3),
        later=st.booleans(),
    )
    def submit(self, queue: str, priority: int, max_retries: int, later: bool) -> uuid.UUID:
        options = {"queue": queue, "priority": priority, "max_retries": max_retries}
        (job_id,) = submit(self.tenant, delay_seconds=3_600 if later else None, **options)
        status = Status.SCHEDULED if later else Status.PENDING
        self.model[job_id] = Expected(queue, priority, max_retries, status)
        self.accepted += 1
        return job_id

    # Workers.

    @rule(target=grants, queue=st.sampled_from(QUEUES))
    def claim_one(self, queue: str) -> Any:
        best = self.best(queue)
        room = self.room(queue)
        claimed = store.claim("w", [store.Share(self.lanes[queue].pk, 1)], lease_seconds=30)
        assert len(claimed) == (best is not None and room > 0)
        for job in claimed:
            before = self.model[job.id]
            assert before.priority == best
            assert job.fence > before.fence
            assert job.attempt == before.attempt + 1 <= 1 + before.max_retries
            self.expect(job.id, Status.RUNNING, attempt=job.attempt, fence=job.fence)
        return multiple(*claimed)

    def best(self, queue: str) -> int | None:
        ready = [j for j in self.model.values() if (j.queue, j.status) == (queue, Status.PENDING)]
        return max((job.priority for job in ready), default=None)

    def room(self, queue: str) -> float:
        lane = Lane.objects.select_related("tenant").get(pk=self.lanes[queue].pk)
        if lane.is_paused:
            return 0
        limits = [(lane.max_running, self.running(queue)), (self.tenant_limit(), self.running())]
        return min((limit - now for limit, now in limits if limit is not None), default=1)

    def tenant_limit(self) -> int | None:
        return Tenant.objects.get(pk=self.tenant.pk).max_running

    @rule(grant=grants, status=st.sampled_from(ENDINGS))
    def finish(self, grant: store.ClaimedJob, status: Status) -> None:
        held = self.holds(grant)
        if held and status is Status.FAILED and grant.attempt > grant.max_retries:
            status = Status.DLQ  # as a worker decides
        recorded = store.finish("w", [outcome(grant, status, retry_in=3_600)])
        assert recorded == ({grant.id} if held else set())
        if held:
            self.end(grant.id, status)

    def end(self, job_id: uuid.UUID, status: Status, lost: int = 0) -> None:
        job = self.model[job_id]
        if status is Status.FAILED and job.to_cancel:
            status = Status.CANCELLED
        self.ended[status] += 1
        self.expect(job_id, status, lost=job.lost + lost)

    @rule(grant=grants)
    def extend(self, grant: store.ClaimedJob) -> None:
        answer = store.extend([Lease(grant.id, grant.fence)], lease_seconds=30)
        held = self.holds(grant)
        assert answer == ({grant.id: self.model[grant.id].to_cancel} if held else {})

    @rule(grant=grants)
    def release(self, grant: store.ClaimedJob) -> None:
        held = self.holds(grant)
        released = store.release([Lease(grant.id, grant.fence)])
        assert released == ({grant.id} if held else set())
        if held:
            job = self.model[grant.id]
            status = Status.CANCELLED if job.to_cancel else Status.PENDING
            self.expect(grant.id, status, attempt=job.attempt - 1)
            self.ended[Status.CANCELLED] += job.to_cancel

    @rule(job_id=jobs)
    def fall_silent(self, job_id: uuid.UUID) -> None:
        job = self.model.get(job_id)
        silent = job is not None and job.status is Status.RUNNING
        expire([job_id] if silent else [])
        assert store.reap("reaper", lambda losses: 3_600) == ([job_id] if silent else [])
        if job is not None and silent:
            is_last = job.lost + 1 >= conf().max_lost or job.attempt > job.max_retries
            self.end(job_id, Status.DLQ if is_last else Status.FAILED, lost=1)

    @rule(job_id=jobs)
    def promote(self, job_id: uuid.UUID) -> None:
        make_due([job_id])
        job = self.model.get(job_id)
        is_due = job is not None and job.status in {Status.SCHEDULED, Status.FAILED}
        assert store.promote() == is_due
        if is_due:
            self.expect(job_id, Status.PENDING)

    # People.

    @rule(job_id=jobs)
    def cancel(self, job_id: uuid.UUID) -> None:
        job = self.model.get(job_id)
        applies = job is not None and job.status in {*WAITING, Status.RUNNING}
        assert store.cancel([job_id]) == ([job_id] if applies else [])
        if job is not None and job.status in WAITING:
            self.expect(job_id, Status.CANCELLED, to_cancel=True)
            self.ended[Status.CANCELLED] += 1
        elif job is not None and applies:
            self.model[job_id] = replace(job, to_cancel=True)

    @rule(job_id=jobs)
    def retry(self, job_id: uuid.UUID) -> None:
        job = self.model.get(job_id)
        applies = job is not None and job.status is Status.FAILED
        assert store.retry([job_id]) == ([job_id] if applies else [])
        if applies:
            self.expect(job_id, Status.PENDING)

    @rule(job_id=jobs)
    def redrive(self, job_id: uuid.UUID) -> None:
        job = self.model.get(job_id)
        applies = job is not None and job.status is Status.DLQ
        assert store.redrive([job_id]) == ([job_id] if applies else [])
        if applies:
            self.expect(job_id, Status.PENDING, attempt=0, lost=0, to_cancel=False)

    @rule(job_id=consumes(jobs))
    def discard(self, job_id: uuid.UUID) -> None:
        job = self.model.get(job_id)
        applies = job is not None and job.status is Status.DLQ
        assert store.discard([job_id]) == ([job_id] if applies else [])
        if applies:
            del self.model[job_id]
            self.discarded += 1

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        services.set_queue_paused(self.tenant, queue, paused=paused, actor=ACTOR)

    @rule(queue=st.sampled_from([None, *QUEUES]), limit=st.sampled_from([None, 1, 2]))
    def limit(self, queue: str | None, limit: int | None) -> None:
        target = self.lanes[queue] if queue else self.tenant
        services.change_limits(target, actor=ACTOR, max_running=limit)

    # What holds after every step.

    @invariant()
    def tables_say_what_the_model_says(self) -> None:
        kept = {job.pk: job for job in Job.objects.all()}
        assert {
            job_id: (job.status, job.attempt, job.lost_count, job.fence, job.cancel_requested)
            for job_id, job in kept.items()
        } == {
            job_id: (job.status, job.attempt, job.lost, job.fence, job.to_cancel)
            for job_id, job in self.model.items()
        }
        assert len(kept) == self.accepted - self.discarded
        for job in kept.values():
            assert (job.lease_expires_at is not None) == (job.status == Status.RUNNING)
            assert (job.finished_at is not None) == (job.status in TERMINAL)
            assert 0 <= job.attempt <= 1 + job.max_retries

    @invariant()
    def every_end_is_counted_once(self) -> None:
        counted = LaneMinute.objects.filter(tenant_id=self.tenant.pk).aggregate(
            DONE=Sum("done", default=0), FAILED=Sum("failed", default=0),
            DLQ=Sum("dead", default=0), CANCELLED=Sum("cancelled", default=0),
        )  # fmt: skip
        assert counted == {status.value: self.ended[status] for status in ENDINGS}


@pytest.mark.django_db
def test_store_agrees_with_its_model() -> None:
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[
                Phase.generate
            ],  # a failure is shown as it came: to make it smaller takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
