"""The program of a child process: runs killable jobs that its parent sends, one at a time."""

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from django.db import close_old_connections

from jobs.registry import find
from jobs.store import Lease, Logged, Outcome
from workers import attempt
from workers.logbook import book

IGNORED_BY_CHILDREN = frozenset({signal.SIGINT, signal.SIGTERM})
"""A child ends when its parent says so, or dies."""
LOOK_SECONDS = 1

Report = tuple[Sequence[Logged], Outcome | None]
"""What a child says: what its job has logged since it last said so, and at the end its outcome."""


class Speaker:
    """Speaks to the parent, for any thread."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def say(self, outcome: Outcome | None = None) -> None:
        """Say what there is to be said, if anything."""
        with self._lock:
            lines = book.unwritten()
            if lines or outcome:
                self._pipe.send((lines, outcome))
                book.written(lines)
            if outcome:
                book.forget_all_but(())


def serve(descriptor: int, worker: str, parent: int) -> None:
    """Run jobs from the pipe until the parent closes it or dies."""
    for number in IGNORED_BY_CHILDREN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_BY_CHILDREN)
    pipe = Connection(descriptor)
    speaker = Speaker(pipe)
    threading.Thread(target=_watch, args=[speaker, parent], daemon=True).start()
    attempt.silence_unheard_logging()
    attempt.prepare_thread()
    book.open()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        close_old_connections()
        outcome = attempt.run(job, find(job.task), worker)
        close_old_connections()
        book.close_notes([Lease(job.id, job.fence)])
        speaker.say(outcome)


def _watch(speaker: Speaker, parent: int) -> None:
    """While a job is busy: look who the parent is, and tell it what the job logs."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(LOOK_SECONDS)
        with suppress(OSError):  # nobody listens: the parent has ended, or is about to end us
            speaker.say()
    os._exit(1)
