"""`python -m tests.invariants.dying_submitter TENANT`: killed at every point of a large submission.

A child process submits a batch and is killed after its first statement, the next one after its
second, and so on; the first that is not killed is the last. After each, the number of jobs in the
database is written.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django
from django.db import connection, transaction

BATCH = 500
MOST_POINTS = 24


class Killer:
    """Counts the statements of a process and kills it after the one with this number."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.executed = 0

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """A wrapper of Django's for statements."""
        answer = execute(sql, params, many, context)
        self.executed += 1
        if self.executed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def main(slug: str) -> None:
    """Die at about `MOST_POINTS` points, the first and the last ones among them."""
    django.setup()
    statements = rehearse(slug)
    every = max(1, statements // MOST_POINTS)
    for at in sorted(
        {1, 2, 3, *range(1, statements, every), *range(statements - 8, statements + 2)}
    ):
        if os.fork() == 0:
            with connection.execute_wrapper(Killer(at)):
                submit(slug)
            os._exit(0)
        _, status = os.wait()
        sys.stdout.write(f"{count(slug)}\n")
        if not os.WIFSIGNALED(status):
            return


def submit(slug: str) -> None:
    """Submit the batch: into new queues, with tags and keys, within limits."""
    from jobs.models import Tenant
    from jobs.services import submit_many
    from jobs.submission import NewJob

    jobs = [
        NewJob(task="echo", queue=f"queue-{n % 3}", tags=("a",), idempotency_key=f"key-{n}")
        for n in range(BATCH)
    ]
    submit_many(Tenant.objects.get(slug=slug), jobs)


def rehearse(slug: str) -> int:
    """How many statements it takes, or a few less: here it is not the outermost transaction."""
    killer = Killer(0)
    with transaction.atomic():
        with connection.execute_wrapper(killer):
            submit(slug)
        transaction.set_rollback(True)
    connection.close()
    return killer.executed


def count(slug: str) -> int:
    """The jobs in the database; the connection is closed again, as forks must not share it."""
    from jobs.models import Job

    jobs = Job.objects.filter(tenant__slug=slug).count()
    connection.close()
    return jobs


if __name__ == "__main__":
    main(sys.argv[1])
