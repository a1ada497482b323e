"""A run under faults: submit and break, then heal, drain, count, and judge."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from django.core.management import call_command
from django.db import Error, connections
from django.db.models.functions import Now

from demo.launcher import is_ready
from jobs.conf import conf
from jobs.models import Job, Worker
from tests.faults import plan, record, store_log
from tests.faults.checker import Verdict, Wrong, check
from tests.faults.clients import Clients, Operator, prepare_tenants
from tests.faults.disk import put_tables_on, small_disk
from tests.faults.faults import Fault
from tests.faults.history import read_lines
from tests.faults.nemesis import Nemesis, Say
from tests.faults.world import NODES, PROCESSES, World
from tests.postgres import own_server

SUBMITTERS = 3
JOBS_A_SECOND = 500
SHORTEST_SECONDS = 10
LOOK_SECONDS = 0.05
LOOK_AGAIN_SECONDS = 0.3
REPORT_SECONDS = 10
CREW_SECONDS = 60
STALLED_SECONDS = 60
"""Nothing of ours takes so long when all is well, on however slow a machine."""
SHOWN = 10
SHARE_OF_FAULTS = 0.6
"""Of the time that there is at most; the rest is for the drain."""
SHARE_ENDED = 0.9
"""When so many of the jobs have ended, there is nothing left to be broken."""
EXPECTED_ERRORS = (
    *("", "lease_lost", "tests.faults.tasks.Stumbled", "jobs.errors.Discard"),
    *("builtins.MemoryError", "jobs.errors.JobTimeout"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked of a run. `minutes`: until when all is to be submitted and broken, at most."""

    seed: int
    jobs: int
    minutes: float
    faults: Sequence[Fault]
    hazards: Collection[str]
    skewed: bool

    @property
    def load_seconds(self) -> float:
        """The time over which the jobs are submitted."""
        return max(SHORTEST_SECONDS, self.jobs / JOBS_A_SECOND)

    @property
    def pace(self) -> float:
        """The seconds between two faults of one part of the world, if programs start faster."""
        return min(8, max(1, self.load_seconds / 15))


def run(options: Options, say: Say) -> bool:
    """Run; answers whether nothing was wrong."""
    key = _prepare()
    with World(skewed=options.skewed) as world:
        took = _seconds_of(lambda: _start(world))
        _Run(options, world, key, say, pace=max(options.pace, took)).do()
        _wait(world, lambda: _is_complete(world), CREW_SECONDS, "not all programs came back")
        world.stop()
        say("all programs have ended; judging")
        events = chain(read_lines(record.directory()), store_log.events())
        verdict = check(events, max_lost=conf().max_lost)
        strange = store_log.errors() - set(EXPECTED_ERRORS)
    complaints = [*world.complaints, *(f"attempts failed of {name}" for name in strange)]
    return tell(verdict, complaints, say)


def _start(world: World) -> None:
    world.start()
    _wait(world, lambda: _is_complete(world), CREW_SECONDS, "not all programs came up")


def _seconds_of(act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _prepare() -> str:
    """A database with tenants, a log and nothing else; answers an API key."""
    disk, server = small_disk(), own_server()
    if disk and server:
        put_tables_on(disk, server)
    call_command("migrate", interactive=False, verbosity=0)
    store_log.install()
    return prepare_tenants()


def _is_complete(world: World) -> bool:
    """Whether the web process and all worker processes are there and alive."""
    fresh = Now() - timedelta(seconds=2 * conf().heartbeat_seconds + 1)
    workers = Worker.objects.filter(stopped_at=None, seen_at__gt=fresh).count()
    return workers >= NODES * PROCESSES and is_ready(world.web_port)


def _wait(world: World, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait, and complain if it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        world.keep()
        if time.monotonic() > deadline:
            world.complaints.append(f"{otherwise} within {seconds:g} s")
            return
        time.sleep(LOOK_SECONDS)


class _Run:
    """`pace`: the seconds between two faults of one part of the world, on average."""

    def __init__(self, options: Options, world: World, key: str, say: Say, *, pace: float) -> None:
        self._options = options
        self._world = world
        self._say = say
        batches = plan.batches(
            options.seed,
            options.jobs,
            hazards=options.hazards,
            hold_seconds=int(conf().lease_seconds) + 3,
        )
        rate = options.jobs / options.load_seconds
        self._clients = Clients(batches, per_second=rate, port=world.web_port, key=key)
        self._operator = Operator(options.seed)
        self._nemesis = Nemesis(
            world,
            options.faults,
            seed=options.seed,
            pace=pace,
            lease_seconds=conf().lease_seconds,
            say=say,
        )
        self._began = time.monotonic()
        self._ended = 0
        self._looked_at = self._reported_at = self._began

    def do(self) -> None:
        """Submit and break, then heal and drain."""
        with ThreadPoolExecutor(SUBMITTERS + 1) as pool:
            submitting = [pool.submit(self._clients.run) for _ in range(SUBMITTERS)]
            operating = pool.submit(self._operator.run)
            try:
                self._break([*submitting, operating])
                self._nemesis.heal()
                self._submit_the_rest(submitting)
            finally:
                self._nemesis.heal()
                self._clients.stop.set()
                self._operator.stop.set()
            for thread in (*submitting, operating):
                thread.result()
        connections.close_all()  # ours may be broken too
        self._say(f"healed; clients saw {dict(self._clients.statuses)}")
        self._drain()

    def _break(self, threads: Sequence[Future[None]]) -> None:
        """Until all that is to be done is done, or its time is over."""
        *submitting, _ = threads
        most = min(SHARE_OF_FAULTS * 60 * self._options.minutes, 3 * self._options.load_seconds)
        deadline = self._began + most
        while time.monotonic() < deadline:
            self._world.keep()
            self._nemesis.tick()
            self._look()
            for thread in threads:
                if thread.done():
                    thread.result()
            is_over = self._ended >= SHARE_ENDED * self._options.jobs
            if is_over and self._nemesis.has_done_all and all(t.done() for t in submitting):
                return
            time.sleep(LOOK_SECONDS)
        self._say("time is up for faults")

    def _submit_the_rest(self, submitting: Sequence[Future[None]]) -> None:
        """What is still to be submitted, now that nothing is in the way."""
        left = self._began + 60 * self._options.minutes - time.monotonic()
        deadline = time.monotonic() + max(STALLED_SECONDS, left)
        while not all(thread.done() for thread in submitting) and time.monotonic() < deadline:
            self._world.keep()
            time.sleep(LOOK_SECONDS)

    def _drain(self) -> None:
        jobs = Job.objects.count()
        if jobs < self._options.jobs:
            missing = self._options.jobs - jobs
            self._world.complaints.append(f"{missing} jobs could not be submitted in the time")
        before, deadline = -1, 0.0
        while self._look() < jobs:
            self._world.keep()
            if self._ended > before:
                before, deadline = self._ended, time.monotonic() + STALLED_SECONDS
            elif time.monotonic() > deadline:
                self._world.complaints.append(f"no job ended for {STALLED_SECONDS} s")
                break
            time.sleep(LOOK_SECONDS)
        self._say(f"{self._ended} of {jobs} jobs have ended")

    def _look(self) -> int:
        """Look how many jobs have ended, and report it now and then."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_AGAIN_SECONDS:
            try:
                self._ended = store_log.ended()
            except Error:  # the database is down, as it is to be: later
                connections.close_all()
            self._looked_at = now
        if now - self._reported_at > REPORT_SECONDS:
            self._say(f"{self._ended} jobs have ended")
            self._reported_at = now
        return self._ended


def tell(verdict: Verdict, complaints: Sequence[str], say: Say) -> bool:
    """Print the verdict; answers whether it is a good one."""
    for fact, times in sorted(verdict.facts.items()):
        say(f"  {times:9,} {fact}")
    kinds = Counter(violation.wrong for violation in verdict.violations)
    for wrong in kinds:
        of_kind = [str(one) for one in verdict.violations if one.wrong == wrong]
        complaints = [*complaints, *of_kind[:SHOWN]]
    for complaint in complaints:
        say(f"VIOLATION {complaint}")
    counts = " · ".join(f"{wrong} {kinds[wrong]}" for wrong in Wrong)
    say(counts)
    return not complaints
