"""The program of a child process: runs killable jobs that its parent sends, one at a time."""

import os
import signal
import threading
from multiprocessing.connection import Connection

from django.db import close_old_connections

from jobs.registry import find
from workers import attempt

IGNORED_BY_CHILDREN = frozenset({signal.SIGINT, signal.SIGTERM})
"""A child ends when its parent says so, or dies."""


def serve(descriptor: int, worker: str, parent: int) -> None:
    """Run jobs from the pipe until the parent closes it or dies."""
    for number in IGNORED_BY_CHILDREN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_BY_CHILDREN)
    threading.Thread(target=_end_with_parent, args=[parent], daemon=True).start()
    attempt.silence_unheard_logging()
    pipe = Connection(descriptor)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        close_old_connections()
        outcome = attempt.run(job, find(job.task), worker)
        close_old_connections()
        pipe.send(outcome)


def _end_with_parent(parent: int) -> None:
    """A busy job does not read its pipe: look who the parent is."""
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(1)
    os._exit(1)
