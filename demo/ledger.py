"""Tasks of the proof, and the ledger of what they did: one line for each run, on disk at once."""

import os
import time
from collections import Counter
from pathlib import Path

from django.conf import settings

from jobs.backoff import Backoff
from jobs.errors import Discard
from jobs.tasksapi import TaskContext, task

SOON = Backoff(base_seconds=0.5, max_seconds=2)


class Stumbled(Exception):
    """A failure that was asked for."""


@task(takes_context=True, backoff=SOON)
def work(context: TaskContext, failures: int, seconds: float) -> int:
    """Work so long; fail so many times, then succeed."""
    time.sleep(seconds)
    note(context)
    if context.attempt <= failures:
        raise Stumbled(f"attempt {context.attempt} of {failures} that fail")
    return context.attempt


@task(takes_context=True, max_retries=1, backoff=SOON)
def fail_always(context: TaskContext) -> None:
    """A dead letter after two attempts."""
    note(context)
    raise Stumbled("as always")


@task(takes_context=True)
def give_up(context: TaskContext) -> None:
    """A dead letter at once."""
    note(context)
    raise Discard("there is no point in trying again")


def note(context: TaskContext) -> None:
    """Append this run to the ledger of this process; the line survives a SIGKILL."""
    file = os.open(ledger() / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, f"{context.task_result.id} {context.attempt}\n".encode())
    finally:
        os.close(file)


def ledger() -> Path:
    """The directory of the ledger, one file for each process."""
    return Path(settings.VAR_DIR) / "ledger"


def runs() -> Counter[str]:
    """How often each attempt of each job ran."""
    return Counter(line for file in ledger().iterdir() for line in file.read_text().splitlines())
