"""Real worker processes, killed, frozen and cut off: what they held is settled, once."""

import itertools
import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from django.db import connection

from jobs import services, store
from jobs.models import Attempt, Job, Tenant
from jobs.statuses import Status
from jobs.store.dialect import is_postgresql
from jobs.submission import NewJob
from tests.harness import running_workers, wait_until
from tests.invariants.deadline import Deadline
from tests.postgres import Server
from tests.store.steps import together

pytestmark = pytest.mark.django_db(transaction=True)

LEASE, REAP = 3, 0.5
SHORT_LEASE = {"lease_seconds": LEASE, "heartbeat_seconds": 0.5, "reap_interval_seconds": REAP}

Run = tuple[float, float | None]


class Marks:
    """Jobs that note each of their runs in a file."""

    def __init__(self, tenant: Tenant, path: Path) -> None:
        self.tenant = tenant
        self.path = path

    def submit(self, count: int, seconds: float) -> list[uuid.UUID]:
        """Jobs that run for so long."""
        return self._submit(count, "mark", seconds=seconds)

    def submit_until(self, over: Path) -> uuid.UUID:
        """A job that runs until there is that file."""
        return self._submit(1, "mark_until", over=str(over))[0]

    def _submit(self, count: int, task: str, **how: object) -> list[uuid.UUID]:
        payload = json.dumps({"path": str(self.path), **how}).encode()
        new = NewJob(task=f"tests.invariants.tasks.{task}", payload=payload, max_retries=20)
        return [one.job_id for one in services.submit_many(self.tenant, [new] * count)]

    def runs(self) -> dict[str, dict[int, Run]]:
        """Begin and end of each run, by job and fence; no end: it was killed."""
        found: dict[str, dict[int, Run]] = defaultdict(dict)
        for line in self.path.read_text().splitlines():
            what, job_id, fence, at = line.split()
            if what == "begins":
                assert int(fence) not in found[job_id], "one run for one fence"
                found[job_id][int(fence)] = (float(at), None)
            else:
                found[job_id][int(fence)] = (found[job_id][int(fence)][0], float(at))
        return found


@pytest.fixture
def marks(alice: Tenant, tmp_path: Path) -> Marks:
    """Of Alice's."""
    return Marks(alice, tmp_path / "marks")


def are_done(jobs: int) -> bool:
    return done() == jobs


def done() -> int:
    return Job.objects.filter(status=Status.DONE).count()


def test_S4_no_job_runs_in_two_processes_while_some_are_killed(marks: Marks) -> None:
    ids, chance = marks.submit(240, 0.05), random.Random(4)
    with running_workers("--processes", "2", count=2, **SHORT_LEASE) as (first, second):
        for victims in (first, second, first):
            some = min(done() + 10, len(ids))
            wait_until(lambda n=some: done() >= n, what="some are done")
            chance.choice(psutil.Process(victims.pid).children()).kill()
        wait_until(lambda: done() == len(ids), what="all are done")
    for runs in marks.runs().values():
        assert [*runs] == sorted(runs), "later runs have higher fences"
        for (_, end), (begin, _) in itertools.pairwise(runs.values()):
            assert end is None or end < begin, "two runs overlapped"
        assert any(end for _, end in runs.values()), "it came to its end"


def test_S6_a_frozen_worker_cannot_act_once_another_has_taken_over(
    marks: Marks, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    job_id = marks.submit_until(over)
    job = Job.objects.filter(pk=job_id)
    with running_workers(**SHORT_LEASE) as (frozen,):
        # Not only claimed: what had not begun by then would be given back without a word.
        wait_until(marks.path.exists, what="the job runs")
        family = frozen.family()
        for process in family:
            process.suspend()
        over.touch()
        with running_workers(**SHORT_LEASE):
            wait_until(job.filter(status=Status.DONE).exists, what="another has done it")
            before = list(job.values()), list(Attempt.objects.values())
            for process in family:
                process.resume()
            wait_until(lambda: "the lease was lost" in frozen.output, what="it learns of it")
    assert (list(job.values()), list(Attempt.objects.values())) == before
    assert len(before[1]) == 1


def test_S10_a_job_that_kills_three_workers_is_poison_and_costs_its_mates_nothing(
    alice: Tenant,
) -> None:
    poison = NewJob(task="tests.invariants.tasks.kill_worker", payload=b"{}", max_retries=10)
    mates = [NewJob(task="echo") for _ in range(20)]
    answers = services.submit_many(alice, [*mates, poison, *mates])
    with running_workers("--concurrency", "1", **SHORT_LEASE):
        ends = [Status.DONE, Status.DLQ]
        wait_until(lambda: not Job.objects.exclude(status__in=ends).exists(), 60)
    dead = Job.objects.get(pk=answers[20].job_id)
    assert (dead.status, dead.reason, dead.lost_count) == (Status.DLQ, "poison", 3)
    assert [attempt.outcome for attempt in dead.attempts.all()] == ["lost"] * 3
    others = Job.objects.exclude(pk=dead.pk)
    spent = [(job.status, job.attempt - job.lost_count) for job in others]
    assert set(spent) == {(Status.DONE, 1)}, "what had not started was given back unspent"
    # One that had run, but whose outcome was not yet written, has to run again.
    assert sum(job.lost_count for job in others) <= 3


def test_S11_a_limit_holds_with_four_processes_at_every_instant(
    alice: Tenant, marks: Marks
) -> None:
    services.change_limits(alice, actor="command:test", max_running=5)
    ids, seen = marks.submit(100, 0.05), 0
    with running_workers("--processes", "4"):
        deadline = Deadline()
        while deadline.holds() and (done() < len(ids)):
            seen = max(seen, Job.objects.filter(status=Status.RUNNING).count())
            time.sleep(0.002)
    assert seen <= 5
    runs = [run for of_job in marks.runs().values() for run in of_job.values()]
    at_once = [sum(begin <= at < (end or begin) for begin, end in runs) for at, _ in runs]
    assert max(at_once) <= 5


def test_L2_jobs_of_a_vanished_machine_run_again_when_their_leases_are_over(marks: Marks) -> None:
    (job_id,) = marks.submit(1, 2)
    with running_workers(count=2, **SHORT_LEASE) as machines:
        running = Job.objects.filter(pk=job_id, status=Status.RUNNING)
        wait_until(running.exists, what="the job runs")
        holder = running.get().worker
        victim = next(machine for machine in machines if holder in machine.worker_ids())
        died_at = time.monotonic()
        victim.kill()
        wait_until(lambda: done() == 1, 30, "it has run again")
    first, second = marks.runs()[str(job_id)].values()
    assert first[1] is None
    backoff, promotion, slack = 0.05, 0.5, 2
    assert second[0] - died_at <= LEASE + REAP * 1.2 + backoff + promotion + slack
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["lost"]


def test_L6_after_a_crash_of_the_server_every_process_works_again(
    marks: Marks, postgres_server: Server
) -> None:
    ids = marks.submit(200, 0.02)
    with running_workers("--processes", "2", **SHORT_LEASE) as (worker,):
        wait_until(lambda: len(worker.worker_ids()) == 2, 20, "both processes are there")
        before = set(worker.worker_ids())
        wait_until(lambda: done() > 30, what="some are done")
        connection.close()
        postgres_server.stop(immediate=True)
        time.sleep(1)  # the outage itself: workers fail to reach the server meanwhile
        postgres_server.start()
        wait_until(lambda: done() == len(ids), 40, "all are done")
        more = list(ids)
        workers: set[str] = set()
        for _ in range(20):  # one of them may be quicker, again and again
            new = marks.submit(60, 0.1)
            more += new
            wait_until(partial(are_done, len(more)), 60, "new ones too")
            workers |= set(Job.objects.filter(pk__in=new).values_list("worker", flat=True))
            if workers == before:
                break
        assert set(worker.worker_ids()) == before, "no process had to be replaced"
        assert workers == before, "each of them works"
    for runs in marks.runs().values():
        assert any(end for _, end in runs.values())
    assert store.ready_lanes() == []


@contextmanager
def database_locked() -> Iterator[None]:
    """Nobody can write, for longer than connections wait."""
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            if is_postgresql():
                cursor.execute("BEGIN; LOCK TABLE jobs_job IN ACCESS EXCLUSIVE MODE")
            else:
                cursor.execute("BEGIN EXCLUSIVE")
            locked.set()
            over.wait(60)
            cursor.execute("ROLLBACK")

    holder = threading.Thread(target=lambda: together([hold]))
    holder.start()
    assert locked.wait(10)
    try:
        yield
    finally:
        over.set()
        holder.join()


def test_L6_workers_go_on_after_the_database_was_locked(marks: Marks) -> None:
    ids = marks.submit(80, 0.02)
    with running_workers(**SHORT_LEASE) as (worker,):
        before = worker.worker_ids()
        wait_until(lambda: done() > 10, what="some are done")
        with database_locked():
            time.sleep(LEASE + 1)  # leases run out meanwhile
        wait_until(lambda: done() == len(ids), what="all are done")
        assert worker.worker_ids() == before
