"""What jobs log while they run: caught by the context they run in, kept until it is written.

Only lines of a job's own code are caught, also from threads and tasks that carry its context on.
The finisher writes them: about once a second while the job runs, and before its outcome.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from typing import Any

from jobs.conf import conf
from jobs.store import ClaimedJob, Lease, Logged

running: ContextVar[ClaimedJob | None] = ContextVar("jobqueue_running", default=None)
"""The job whose code runs in this context. Whoever runs it sets this around the call."""

_formatter = logging.Formatter()


class _AsBefore(logging.Filter):
    """Keeps from a handler what is now let through for the log book alone."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record would have come if the root's level were what it was."""
        return record.levelno >= self._level or _has_own_level(_logger_of(record))


def _has_own_level(logger: logging.Logger) -> bool:
    """Whether its level is its own, or of one between it and the root."""
    return logger.parent is not None and (bool(logger.level) or _has_own_level(logger.parent))


def _logger_of(record: logging.LogRecord) -> logging.Logger:
    """The root's where the record names none: whoever makes one may write there what they like."""
    return logging.getLogger(record.name if isinstance(record.name, str) else None)


def _has_listener(logger: logging.Logger) -> bool:
    """Whether somebody below the root hears it, or it is not handed on to there."""
    if logger.parent is None:
        return False
    return bool(logger.handlers) or not logger.propagate or _has_listener(logger.parent)


def _every_handler() -> set[logging.Handler]:
    """Those of the loggers that there are, the root's among them."""
    root = logging.getLogger()
    loggers = [x for x in root.manager.loggerDict.values() if isinstance(x, logging.Logger)]
    return {handler for logger in (root, *loggers) for handler in logger.handlers}


class Notes:
    """The lines of one attempt that are still to be written."""

    __slots__ = ("attempt", "dropped", "lines", "numbers")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.numbers = count(1)
        self.dropped = 0
        self.lines: list[Logged] = []


class LogBook(logging.Handler):
    """Catches lines, from any thread, and hands them out to one that writes them."""

    def __init__(self) -> None:
        super().__init__()
        self._notes: dict[Lease, Notes] = {}
        self._last_resort: logging.Handler | None = None
        self._as_before = _AsBefore(logging.NOTSET)

    def open(self) -> None:
        """Catch lines from now on, unless the settings say that none are kept.

        What others hear and print stays as it was: those of the loggers that there are by now.
        """
        root = logging.getLogger()
        if conf().log_level == "OFF" or self in root.handlers:
            return
        self.setLevel(conf().log_level)
        self._last_resort = None if root.handlers else logging.lastResort
        self._as_before = _AsBefore(root.level)
        if self.level < root.level:
            for handler in _every_handler():
                handler.addFilter(self._as_before)
            root.setLevel(self.level)
        root.addHandler(self)

    def createLock(self) -> None:
        """Without a lock: a job that is stopped in here would never let go of it."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Catch a line, if a job's code says it."""
        job = running.get()
        if job is not None:
            self._catch(job, record)
        if self._last_resort:
            self._speak_as_before(self._last_resort, record)
        return job is not None

    def _speak_as_before(self, last_resort: logging.Handler, record: logging.LogRecord) -> None:
        """Python prints what nobody hears; now that we do, it would not."""
        is_quiet = record.levelno < last_resort.level or not self._as_before.filter(record)
        if not is_quiet and not _has_listener(_logger_of(record)):
            last_resort.handle(record)

    def _catch(self, job: ClaimedJob, record: logging.LogRecord) -> None:
        lease = Lease(job.id, job.fence)
        notes = self._notes.get(lease) or self._notes.setdefault(lease, Notes(job.attempt))
        number = next(notes.numbers)
        if number > (most := conf().max_log_lines):
            notes.dropped = number - most
            return
        notes.lines.append(_line_of(record, lease, notes, number))

    def add(self, lines: Iterable[Logged]) -> None:
        """Take over what another process caught."""
        for line in lines:
            lease = Lease(line.job_id, line.fence)
            self._notes.setdefault(lease, Notes(line.attempt)).lines.append(line)

    def close_notes(self, ended: Iterable[Lease]) -> None:
        """These attempts have ended: their last line says how many more there were."""
        for lease in ended if self._notes else ():
            if (notes := self._notes.get(lease)) and notes.dropped:
                notes.lines.append(_last_line(lease, notes))
                notes.dropped = 0

    def unwritten(self, leases: Iterable[Lease] | None = None) -> list[Logged]:
        """The lines of these attempts, or of all, that are still to be written, in order."""
        if not self._notes:
            return []
        chosen = list(self._notes) if leases is None else leases
        found = [self._notes[lease] for lease in chosen if lease in self._notes]
        return [line for notes in found for line in notes.lines[:]]

    def written(self, lines: Sequence[Logged]) -> None:
        """These are kept; they were the first of what was unwritten of their attempts."""
        for lease, number in Counter(Lease(line.job_id, line.fence) for line in lines).items():
            del self._notes[lease].lines[:number]

    def forget(self, leases: Iterable[Lease]) -> None:
        """Nothing more is written of these."""
        if self._notes:
            for lease in leases:
                self._notes.pop(lease, None)

    def forget_all_but(self, leases: Collection[Lease]) -> None:
        """What is said by code that outlives its attempt is written nowhere."""
        self.forget([lease for lease in list(self._notes) if lease not in leases])


def _line_of(record: logging.LogRecord, lease: Lease, notes: Notes, number: int) -> Logged:
    try:
        return _line(
            lease,
            notes,
            number=number,
            at=datetime.fromtimestamp(record.created, UTC),
            level=record.levelno,
            logger=record.name,
            message=_message(record),
        )
    except Exception as error:  # a record is whatever was put together: it never fails its job
        return _line(
            lease,
            notes,
            number=number,
            at=datetime.now(UTC),
            level=logging.WARNING,
            message=f"(a line that could not be kept: {type(error).__name__})",
        )


def _last_line(lease: Lease, notes: Notes) -> Logged:
    most = conf().max_log_lines
    return _line(
        lease,
        notes,
        number=most + 1,
        at=datetime.now(UTC),
        level=logging.WARNING,
        message=f"{notes.dropped:,} more lines were dropped: {most:,} are kept of an attempt.",
    )


def _line(lease: Lease, notes: Notes, **told: Any) -> Logged:
    return Logged(job_id=lease.job_id, fence=lease.fence, attempt=notes.attempt, **told)


def _message(record: logging.LogRecord) -> str:
    """With the traceback that it came with, if any."""
    try:
        return _formatter.format(record)
    except Exception as error:  # its arguments are a user's, and so is what they fit into
        return f"(a line that could not be written out: {type(error).__name__})"


book = LogBook()
"""The log book of this process."""
