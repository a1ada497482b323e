"""Every operation of the store on a job in every status: it moves as the table says, or not at all.

Where a move is not allowed, nothing changes: not the row, not its attempts, not the counts.
"""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from jobs import store
from jobs.models import Attempt, Job, JobTag, LaneMinute, Tenant
from jobs.statuses import TERMINAL, TRANSITIONS, Move, Status
from jobs.store import Lease
from tests.store.steps import WORKER, database_time, job_in, lane_of, no_delay, outcome, row

pytestmark = pytest.mark.django_db


class Subject(NamedTuple):
    """The job under test, as its last holder knows it."""

    id: uuid.UUID
    fence: int
    lane_id: int
    tenant_id: int

    @property
    def lease(self) -> Lease:
        return Lease(self.id, self.fence)


class Operation(NamedTuple):
    """A call of the store, the move it makes, and the columns it may change without moving."""

    name: str
    move: Move | None
    call: Callable[[Subject], object]
    touches_running: frozenset[str] = frozenset()


def finish(status: Status, fence_offset: int = 0) -> Callable[[Subject], object]:
    def call(job: Subject) -> object:
        shifted = job._replace(fence=job.fence + fence_offset)
        return store.finish(WORKER, [outcome(shifted, status)])

    return call


OPERATIONS = [
    Operation(
        "claim",
        Move.CLAIM,
        lambda job: store.claim("worker-2", [store.Share(job.lane_id, 5)], lease_seconds=30),
    ),
    Operation("finish as done", Move.ACK, finish(Status.DONE)),
    Operation("finish as failed", Move.FAIL, finish(Status.FAILED)),
    Operation("finish as dead", Move.BURY, finish(Status.DLQ)),
    Operation("finish as cancelled", Move.STOP, finish(Status.CANCELLED)),
    Operation("finish under an older fence", None, finish(Status.DONE, -1)),
    Operation("finish under a fence never granted", None, finish(Status.DONE, +1)),
    Operation("release", Move.RELEASE, lambda job: store.release([job.lease])),
    Operation(
        "release under an older fence",
        None,
        lambda job: store.release([job.lease._replace(fence=job.fence - 1)]),
    ),
    Operation(
        "extend",
        None,
        lambda job: store.extend([job.lease], lease_seconds=99),
        frozenset({"lease_expires_at"}),
    ),
    Operation(
        "extend under an older fence",
        None,
        lambda job: store.extend([job.lease._replace(fence=job.fence - 1)], lease_seconds=99),
    ),
    Operation("reap", Move.FAIL, lambda job: store.reap("reaper", no_delay)),
    Operation(
        "lose the worker, the job started",
        Move.FAIL,
        lambda job: store.lose_worker(WORKER, {job.lease}, no_delay),
    ),
    Operation(
        "lose the worker, the job not started",
        Move.RELEASE,
        lambda job: store.lose_worker(WORKER, set(), no_delay),
    ),
    Operation("promote", Move.PROMOTE, lambda job: store.promote()),
    Operation(
        "cancel", Move.CANCEL, lambda job: store.cancel([job.id]), frozenset({"cancel_requested"})
    ),
    Operation("retry", Move.RETRY, lambda job: store.retry([job.id])),
    Operation("redrive", Move.REDRIVE, lambda job: store.redrive([job.id])),
]


@pytest.fixture(params=sorted(Status))
def subject(request: pytest.FixtureRequest, alice: Tenant) -> Subject:
    """A job in that status; its time has come and its lease, if it has one, ran out."""
    job_id = job_in(request.param, alice, tags=("red",))
    kept = row(job_id)
    long_ago = database_time() - timedelta(hours=1)
    lease = kept["lease_expires_at"] and long_ago
    Job.objects.filter(pk=job_id).update(run_at=long_ago, lease_expires_at=lease)
    return Subject(job_id, kept["fence"], lane_of(alice).pk, alice.pk)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operation_moves_the_job_as_the_table_allows_or_changes_nothing(
    subject: Subject, operation: Operation
) -> None:
    before, surroundings = row(subject.id), surroundings_of(subject)
    operation.call(subject)
    after = row(subject.id)
    if operation.move and before["status"] in TRANSITIONS[operation.move].sources:
        assert after["status"] == TRANSITIONS[operation.move].target
        assert_consistent(after)
    else:
        may_change = operation.touches_running if before["status"] == Status.RUNNING else set()
        assert {name for name in before if before[name] != after[name]} <= may_change
        assert surroundings_of(subject) == surroundings


def test_discard_deletes_dead_letters_and_nothing_else(subject: Subject) -> None:
    before, surroundings = row(subject.id), surroundings_of(subject)
    answer = store.discard([subject.id])
    if before["status"] == Status.DLQ:
        assert answer == [subject.id]
        assert not Job.objects.exists()
        assert not Attempt.objects.exists()
        assert not JobTag.objects.exists()
    else:
        assert answer == []
        assert (row(subject.id), surroundings_of(subject)) == (before, surroundings)


def surroundings_of(job: Subject) -> tuple[Any, ...]:
    """What else an operation may have written about a job."""
    return (
        list(Attempt.objects.filter(job_id=job.id).values()),
        list(JobTag.objects.filter(job_id=job.id).values()),
        list(LaneMinute.objects.filter(lane_id=job.lane_id).values()),
    )


def assert_consistent(kept: dict[str, Any]) -> None:
    """What is true of every row in its status."""
    status = kept["status"]
    assert (kept["lease_expires_at"] is not None) == (status == Status.RUNNING)
    assert (kept["finished_at"] is not None) == (status in TERMINAL)
    assert 0 <= kept["attempt"] <= 1 + kept["max_retries"]
