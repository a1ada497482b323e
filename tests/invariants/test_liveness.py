"""What must happen in the end: every job starts, ends, and gets its share."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from jobs import store
from jobs.models import Job, Tenant
from jobs.shares import FairShares
from jobs.statuses import TERMINAL, Status
from jobs.store.dialect import is_postgresql
from tests.harness import START_SECONDS, ProjectProcess, WorkerProcess, environment, wait_until
from tests.store.steps import (
    claim,
    expire,
    finish,
    lane_of,
    make_due,
    no_delay,
    outcome,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)


class DeafWorker(WorkerProcess):
    """A worker that finds work by polling alone, as if every notification got lost."""

    def __init__(self, **tunables: object) -> None:
        options = ("--processes", "1", "--concurrency", "4")
        ProjectProcess.__init__(
            self, "-m", "tests.invariants.deaf_worker", *options, env=environment(**tunables)
        )


def test_L1_polling_finds_a_job_when_every_notification_is_lost(alice: Tenant) -> None:
    with DeafWorker(poll_interval_seconds=1) as worker:
        worker.wait_until_ready()
        for _ in range(3):
            time.sleep(random.Random(1).uniform(0, 0.5))  # not in step with the polls
            (job_id,) = submit(alice)
            done = Job.objects.filter(pk=job_id, status=Status.DONE)
            wait_until(done.exists, START_SECONDS, "the job is done")
            job = done.get()
            assert (job.started_at - job.run_at).total_seconds() <= 1 + 1


@pytest.mark.parametrize("seed", range(3))
def test_L3_every_job_reaches_an_end(make_tenant: Callable[..., Tenant], seed: int) -> None:
    """Workers fail, vanish and give back at random; nothing else is done to help."""
    chance = random.Random(seed)
    tenants = [make_tenant("limited", max_running=3), make_tenant("free")]
    lanes = [lane_of(tenant, queue) for tenant in tenants for queue in ("a", "b")]
    for n in range(60):
        lane = chance.choice(lanes)
        delay = chance.choice([None, 60])
        submit(lane.tenant, queue=lane.queue, max_retries=n % 4, delay_seconds=delay)
    rounds = 0
    while unfinished := Job.objects.exclude(status__in=TERMINAL).count():
        rounds += 1
        assert rounds < 200, f"{unfinished} jobs never end"
        for job in claim(*lanes, quota=chance.randint(1, 3)):
            is_last = job.attempt > job.max_retries
            failure = Status.DLQ if is_last else Status.FAILED
            end = chance.choice([Status.DONE, failure, None, "vanish"])
            if end == "vanish":
                expire([job.id])
            elif end is None:
                store.release([store.Lease(job.id, job.fence)])
            else:
                finish(job, end)
        store.reap("reaper", no_delay)
        make_due(Job.objects.filter(status__in=["FAILED", "SCHEDULED"]).values("pk"))
        store.promote()
    assert store.ready_lanes() == []


def starts_of(rounds: int, places: int) -> tuple[Counter[int], list[Counter[int]]]:
    """Share out and claim so often, as workers do; answers the starts, in all and per round."""
    shares, total, per_round = FairShares(), Counter[int](), []
    for _ in range(rounds):
        claimed = store.claim("w", shares.divide(store.ready_lanes(), places), lease_seconds=30)
        shares.charge(Counter(job.lane_id for job in claimed))
        store.finish("w", [outcome(job, Status.DONE) for job in claimed])
        per_round.append(Counter(job.tenant_id for job in claimed))
        total += per_round[-1]
    return total, per_round


def jain(values: list[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


def test_L4_no_tenant_starves_beside_a_flood(make_tenant: Callable[..., Tenant]) -> None:
    flood = make_tenant("flood")
    for n in range(5):
        submit(flood, 400, queue=f"queue-{n}", priority=100)
    others = [make_tenant(f"tenant-{n}", weight=1 + n % 2) for n in range(9)]
    for tenant in others:
        submit(tenant, 400)
    total, per_round = starts_of(rounds=40, places=20)
    assert jain([total[t.pk] / t.weight for t in (flood, *others)]) >= 0.99
    late = make_tenant("late")
    submit(late)
    _, per_round = starts_of(rounds=1, places=20)
    assert per_round[0][late.pk] == 1, "a new tenant's first job starts in the first round"


def test_L5_priority_is_strict_in_a_lane_and_no_matter_to_other_lanes(
    alice: Tenant, mallory: Tenant
) -> None:
    submit(alice, 30, priority=-100)
    submit(alice, 30, priority=100)
    submit(mallory, 30, priority=-100)
    lanes = [lane_of(alice), lane_of(mallory)]
    for _ in range(15):
        claimed = claim(*lanes, quota=2)
        assert [job.priority for job in claimed if job.tenant == "alice"] == [100, 100]
        assert len([job for job in claimed if job.tenant == "mallory"]) == 2
        store.finish("w", [outcome(job, Status.DONE) for job in claimed])
    assert {job.priority for job in claim(lanes[0], quota=30)} == {-100}


@contextmanager
def stuck_transaction() -> Iterator[None]:
    """Somebody opened a transaction, looked at the jobs and went to lunch."""
    opened, over = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT count(*) FROM jobs_job")
            opened.set()
            over.wait(120)
            cursor.execute("ROLLBACK")

    holder = threading.Thread(target=lambda: together([hold]))
    holder.start()
    try:
        assert opened.wait(10)
        yield
    finally:
        over.set()
        holder.join()


def pages_of_claims(worked: int, lane: Any) -> int:
    """Work off so many jobs; answers how many pages the last claim touched."""
    for _ in range(worked // 100):
        jobs = claim(lane, quota=100)
        assert len(jobs) == 100
        store.finish("w", [outcome(job, Status.DONE) for job in jobs])
    pages = 0

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal pages
        if "SKIP LOCKED" in sql and "UPDATE jobs_job" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute("SAVEPOINT explained")
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
                (explained,) = cursor.fetchone()
                cursor.execute("ROLLBACK TO SAVEPOINT explained")
            plan = explained[0]["Plan"]
            pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        jobs = claim(lane, quota=100)
    store.finish("w", [outcome(job, Status.DONE) for job in jobs])
    assert pages > 0, "no claim was explained"
    return pages


def test_L7_claims_stay_cheap_behind_a_stuck_transaction(alice: Tenant) -> None:
    if not is_postgresql():
        pytest.skip("on SQLite readers keep no rows alive")
    lane = lane_of(alice)
    for _ in range(9):
        submit(alice, 1_000)
    with stuck_transaction():
        early = pages_of_claims(200, lane)
        late = pages_of_claims(8_000, lane)
    assert late <= 2 * early, f"{early} pages at first, {late} after 8,000 jobs"
