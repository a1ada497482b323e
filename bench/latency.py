"""How soon an idle worker begins with a job."""

import json
import random
import time
from collections.abc import Iterator

from django.db import transaction

from bench import load
from bench.drains import ONE_PROCESS
from bench.figures import percentile
from bench.scenario import Figure, Sample, Settings
from jobs import services
from jobs.submission import NewJob
from tests.harness import running_workers

SUBMISSIONS = 300
PAUSE_SECONDS = (0.03, 0.06)
"""So long the worker has nothing to do: never twice the same, so as to meet no rhythm of its."""
STAMP = NewJob(task="bench.tasks.stamp", payload=b"{}")


def pickup(settings: Settings) -> Iterator[Sample]:
    """From the commit of a submission to the first line of the task's code, in milliseconds."""
    submissions = settings.jobs(SUBMISSIONS)
    for _ in settings.each_run():
        waits = _waits(submissions)
        yield {"p50": Figure(percentile(waits, 50)), "p99": Figure(percentile(waits, 99))}


def _waits(submissions: int) -> list[float]:
    load.wipe()
    load.settle()
    committed: dict[str, float] = {}
    with running_workers(*ONE_PROCESS):
        load.warm_up()
        tenants = load.submitted_by(lambda: committed.update(_submit_singly(submissions)))
        load.wait_for(submissions, tenants)
    load.counted(submissions, tenants, result=None)
    rows = load.jobs_of(tenants).values_list("pk", "result")
    return [1_000 * (json.loads(bytes(at or b"")) - committed[str(job)]) for job, at in rows]


def _submit_singly(submissions: int) -> Iterator[tuple[str, float]]:
    """Submit one after the other; yields the id of each job and when it was committed."""
    tenant = load.make_tenant("bench")
    for _ in range(submissions):
        time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311
        commit = _Commit()
        with transaction.atomic():
            transaction.on_commit(commit.note)  # first, and so before the workers are woken
            job_id = services.submit(tenant, STAMP).job_id
        yield str(job_id), commit.at


class _Commit:
    """When a transaction was committed, by this machine's clock."""

    at = 0.0

    def note(self) -> None:
        self.at = time.time()
