"""The proof: 1,000 jobs, a worker killed among them, and a count of what became of every one.

The jobs are of four kinds whose ends are known beforehand, so the result can be wrong:

    done at once            760
    done after failing       140   (once or twice)
    dead after two attempts   60
    dead at once              40
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.core.management import call_command
from django.db.models import Count

from demo import ledger
from demo.processes import Child, stop_all
from jobs.models import Attempt, Job, Tenant
from jobs.statuses import TERMINAL, AttemptOutcome, Status
from jobs.store.minutes import total
from jobs.tenants import create_tenant

SUBMITTED, DONE, DEAD = 1_000, 900, 100
LIMIT_SECONDS = 55
TUNABLES = {"lease_seconds": 3, "heartbeat_seconds": 1}
TENANTS = {"red": 1, "green": 2, "blue": 3}


@dataclass(frozen=True)
class Verdict:
    """What became of the jobs."""

    done: int
    dead: int
    lost: int
    doubled: int

    def __str__(self) -> str:
        return (
            f"submitted {SUBMITTED} · done {self.done} · dead {self.dead} "
            f"· lost {self.lost} · doubled {self.doubled}"
        )

    @property
    def is_as_constructed(self) -> bool:
        """Whether every job ended once, and as it had to."""
        return self == Verdict(done=DONE, dead=DEAD, lost=0, doubled=0)


def directory() -> Path:
    """Where the proof has its database, ledger and logs."""
    return Path(settings.BASE_DIR) / "var" / "proof"


def restart_with_own_database() -> NoReturn:
    """Become a fresh process with the settings of the proof, on a fresh database."""
    shutil.rmtree(directory(), ignore_errors=True)
    environment = os.environ | {
        "VAR_DIR": str(directory()),
        "DATABASE_URL": f"sqlite:///{directory() / 'proof.sqlite3'}",
        "JOBQUEUE": json.dumps(TUNABLES),
    }
    command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "proof", "--here"]
    os.execve(sys.executable, command, environment)  # noqa: S606  (the command is ours)


def prove(say: Callable[[str], None]) -> Verdict:
    """Submit, kill, wait, count."""
    call_command("migrate", interactive=False, verbosity=0)
    ledger.ledger().mkdir(parents=True)
    submit_all([create_tenant(slug, actor="command:proof", **_shares(slug)) for slug in TENANTS])
    say(f"{SUBMITTED} jobs submitted; starting two workers")
    with ExitStack() as stack:
        workers = [_start_worker(number) for number in (1, 2)]
        stack.callback(stop_all, workers, within_seconds=10)
        _kill_in_the_middle(workers[0], say)
        _wait_for_the_rest(say)
    lost = Attempt.objects.filter(outcome=AttemptOutcome.LOST).count()
    say(f"{sum(ledger.runs().values())} runs, {lost} lost with the killed worker and run again")
    return judge()


def submit_all(tenants: list[Tenant]) -> None:
    """Submit the jobs, in turn for each tenant, slow ones among the quick."""
    calls = [
        *[(ledger.work, {"failures": 0, "seconds": 0.01})] * 720,
        *[(ledger.work, {"failures": 0, "seconds": 0.3})] * 40,
        *[(ledger.work, {"failures": 1, "seconds": 0.01})] * 100,
        *[(ledger.work, {"failures": 2, "seconds": 0.01})] * 40,
        *[(ledger.fail_always, {})] * 60,
        *[(ledger.give_up, {})] * 40,
    ]
    # A stride that has no factor in common with 1,000 visits every job once, and mixes the kinds.
    for number in range(SUBMITTED):
        task, arguments = calls[number * 619 % SUBMITTED]
        tenant = tenants[number % len(tenants)]
        task.using(tenant=tenant.slug, queue_name="proof").enqueue(**arguments)


def judge() -> Verdict:
    """Count from the jobs' rows, from the counters of outcomes and from the ledger of runs."""
    counts = dict(Job.objects.values_list("status").annotate(Count("pk")).order_by())
    ended = sum(counts.get(status, 0) for status in TERMINAL)
    everybody = list(Tenant.objects.values_list("pk", flat=True))
    recorded = sum(total(("done", "dead", "cancelled"), everybody))
    run_twice = sum(times - 1 for times in ledger.runs().values())
    return Verdict(
        done=counts.get(Status.DONE, 0),
        dead=counts.get(Status.DLQ, 0),
        lost=SUBMITTED - ended,
        doubled=run_twice + max(0, recorded - ended),
    )


def _shares(slug: str) -> dict[str, int | None]:
    return {"weight": TENANTS[slug], "max_running": None, "submissions_per_minute": None}


def _start_worker(number: int) -> Child:
    size = ["--processes", "1", "--concurrency", "4", "--drain-seconds", "5"]
    command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "runworkers", *size]
    return Child(f"worker {number}", command, log=directory() / f"worker-{number}.log")


def _kill_in_the_middle(worker: Child, say: Callable[[str], None]) -> None:
    """SIGKILL for a worker with everything it started, while it runs jobs and many wait."""
    _wait(lambda: _ended() > SUBMITTED // 4)
    os.killpg(worker.pid, signal.SIGKILL)
    say(f"worker 1 killed with SIGKILL after {_ended()} jobs")


def _wait_for_the_rest(say: Callable[[str], None]) -> None:
    _wait(lambda: _ended() == SUBMITTED)
    say(f"{_ended()} jobs ended")


def _ended() -> int:
    return Job.objects.filter(status__in=TERMINAL).count()


def _wait(condition: Callable[[], bool]) -> None:
    """Wait until it holds, or until the time is up: then the count says what is missing."""
    deadline = time.monotonic() + LIMIT_SECONDS / 2
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
