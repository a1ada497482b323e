"""Where lines of ready jobs are read from."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jobs.store import ClaimedJob, Mark, Marks
from workers.role import REST

CROWDED_SECONDS = 0.003
"""A look and a claim that took no longer did not read many entries of jobs that are gone."""


class Begins:
    """Where lines are read from: their beginnings, or the marks behind the last claimed jobs.

    A line's beginning may be crowded with entries of jobs that are long gone, as long as somebody
    keeps a transaction open that began before they went. Reading it costs at most a share of the
    time, `1 / (1 + REST)`; what becomes ready before a mark waits for the next such time. But what
    takes no longer than `CROWDED_SECONDS` is done each time: to look behind marks asks every line
    that there is, and takes longer.
    """

    def __init__(self) -> None:
        self._marks: dict[int, Mark] = {}
        self._until = 0.0
        self._is_whole = True

    @contextmanager
    def timed(self) -> Iterator[Marks]:
        """The marks to read behind, none at the beginnings; how long that takes is taken."""
        started = time.monotonic()
        self._is_whole = started >= self._until
        if self._is_whole:
            self._marks = {}
        yield self.marks
        if self._is_whole:
            ended = time.monotonic()
            took = ended - started
            self._until = ended + REST * took if took > CROWDED_SECONDS else 0.0

    @property
    def marks(self) -> Marks:
        """The marks, as they are now."""
        return dict(self._marks)

    def note(self, claimed: Sequence[ClaimedJob]) -> None:
        """Move the marks behind these jobs, which are in order."""
        last = {job.line_id: job for job in claimed}
        self._marks |= {line_id: job.mark for line_id, job in last.items()}

    def next_in(self) -> float:
        """Seconds until the beginnings are worth another look: they may hide what is ready."""
        return math.inf if self._is_whole else max(0.001, self._until - time.monotonic())
