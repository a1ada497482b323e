"""What handlers say by Python's `logging`: caught by the context they run in, until it is told.

A line is caught where the program's own settings let it through, from INFO on.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from threading import Lock

from jobqueue_client.leases import Line, Told
from jobqueue_client.models import LeasedJob

MOST_LINES = 1_000
"""So many of an attempt are told, and one more, at which the queue says that there were more."""

running: ContextVar[LeasedJob | None] = ContextVar("jobqueue_client_running", default=None)
"""The job whose handler runs in this context."""

_formatter = logging.Formatter()


class Notes:
    """The lines of one attempt that were not told yet; `first` is the number of the first."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.first = 1
        self.lines: list[Line] = []


class LogBook(logging.Handler):
    """Catches lines, from any thread, until they are taken."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._notes: dict[tuple[str, int], Notes] = defaultdict(Notes)
        self._guard = Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Catch a line, if a handler says it."""
        job = running.get()
        if job is None:
            return
        line = Line(
            message=_message(record),
            level=_level(record.levelno),
            logger=record.name,
            at=datetime.fromtimestamp(record.created, UTC).isoformat(),
        )
        with self._guard:
            notes = self._notes[job.id, job.fence]
            if next(notes.numbers) <= MOST_LINES + 1:
                notes.lines.append(line)

    def take(self, jobs: Sequence[LeasedJob]) -> list[Told]:
        """What these jobs have said that was not taken yet."""
        with self._guard:
            return [told for job in jobs if (told := self._take(job))]

    def _take(self, job: LeasedJob) -> Told | None:
        notes = self._notes.get((job.id, job.fence))
        if notes is None or not notes.lines:
            return None
        first, lines = notes.first, notes.lines[:MOST_LINES]
        del notes.lines[:MOST_LINES]
        notes.first += len(lines)
        return job, first, lines

    def forget(self, job: LeasedJob) -> None:
        """The attempt has ended."""
        with self._guard:
            self._notes.pop((job.id, job.fence), None)


def _message(record: logging.LogRecord) -> str:
    """With the traceback that it came with, if any."""
    try:
        return _formatter.format(record)
    except Exception as error:  # the arguments are somebody else's, and so is what they fit into
        return f"(a line that could not be written out: {type(error).__name__})"


def _level(number: int) -> str:
    known = (("critical", 50), ("error", 40), ("warning", 30), ("info", 20))
    return next((name for name, least in known if number >= least), "debug")
