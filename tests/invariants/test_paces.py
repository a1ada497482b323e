"""Limits on tasks and on the pace of starts, with many claimers at once."""

import itertools
from collections.abc import Callable
from functools import partial

import pytest

from jobs import services, store
from jobs.models import Job, TaskLimit, Tenant
from jobs.statuses import Status
from tests.invariants.deadline import Deadline
from tests.store.steps import claim, lane_of, outcome, submit, together

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = "command:test"
PER_MINUTE, BURST, STARTS = 1_200, 5, 30
SLACK_SECONDS = 0.1
"""A start is dated when its claim writes it, a moment after the pace was looked at."""


def assert_paced(starts: list[float]) -> None:
    """In no window of time are there more starts than its burst and its rate allow."""
    starts = sorted(starts)
    for first, last in itertools.combinations(range(len(starts)), 2):
        seconds = starts[last] - starts[first] + SLACK_SECONDS
        assert last - first + 1 <= BURST + 1 + PER_MINUTE / 60 * seconds


@pytest.mark.parametrize("holder", ["tenant", "lane", "task", "task of all tenants"])
def test_S12_starts_are_paced_in_every_window_of_time(
    alice: Tenant, mallory: Tenant, holder: str
) -> None:
    lanes = [lane_of(alice), lane_of(mallory)]
    submit(alice, 300)
    pace = {"starts_per_minute": PER_MINUTE, "start_burst": BURST}
    if holder in {"tenant", "lane"}:
        services.change_limits(alice if holder == "tenant" else lanes[0], actor=ACTOR, **pace)
    else:
        of_all = holder != "task"
        TaskLimit.objects.create(tenant=None if of_all else alice, task="echo", **pace)
        submit(mallory, 300 if of_all else 0)
    claimed: list[store.ClaimedJob] = []

    def claim_on(worker: str) -> None:
        deadline = Deadline()
        while deadline.holds() and len(claimed) < STARTS:
            claimed.extend(claim(*lanes, quota=10, worker=worker))

    together([partial(claim_on, f"worker-{n}") for n in range(6)])
    started = Job.objects.exclude(started_at=None).values_list("started_at", flat=True)
    assert len(started) == len(claimed) >= STARTS
    assert_paced([at.timestamp() for at in started])


@pytest.mark.parametrize("of_all", [False, True], ids=["of a tenant", "of all tenants"])
def test_S11_a_limit_of_a_task_holds_in_all_its_lanes(
    make_tenant: Callable[..., Tenant], of_all: bool
) -> None:
    tenants = [make_tenant("one"), make_tenant("other")] if of_all else [make_tenant("one")]
    lanes = [lane_of(tenant, queue) for tenant in tenants for queue in ("a", "b")]
    for lane in lanes:
        submit(lane.tenant, 25, queue=lane.queue, task="sleep")
        submit(lane.tenant, 5, queue=lane.queue)
    owner = None if of_all else tenants[0]
    TaskLimit.objects.create(tenant=owner, task="sleep", max_running=3)

    def work(worker: str) -> None:
        deadline = Deadline()
        while deadline.holds() and (Job.objects.exclude(status=Status.DONE).exists()):
            jobs = claim(*lanes, quota=4, worker=worker)
            running = Job.objects.filter(status=Status.RUNNING, task="sleep")
            assert running.count() <= 3
            store.finish(worker, [outcome(job, Status.DONE) for job in jobs])

    together([partial(work, f"worker-{n}") for n in range(5)])
    runs = list(Job.objects.filter(task="sleep").values_list("started_at", "finished_at"))
    assert max(sum(begin <= at < end for begin, end in runs) for at, _ in runs) <= 3
