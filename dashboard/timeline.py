"""What happened to a job, as the steps of a strip. Pure: no database, the time is a parameter."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from jobs.statuses import AttemptOutcome, Status

MIN_WIDTH = 2.0
"""Of a hundred: so that a short step can still be seen."""


class Run(Protocol):
    """One attempt that ended without a result."""

    number: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime


class Subject(Protocol):
    """The parts of a job that its story is told from."""

    status: str
    attempt: int
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Step:
    """A stretch of time that a job spent in one status. `is_open`: it is still going on."""

    status: Status
    label: str
    start: datetime
    end: datetime
    is_open: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max((self.end - self.start).total_seconds(), 0)


class Bar(NamedTuple):
    """A step's place in the strip, in hundredths of its width."""

    x: float
    width: float
    step: Step


def steps(job: Subject, attempts: Iterable[Run], now: datetime) -> list[Step]:
    """The job's life so far: waits, runs and backoffs, in order."""
    story: list[Step] = []
    at = job.created_at
    for run in _runs(job, attempts):
        story += _wait(at, run.start, job, is_first=not story)
        story.append(run)
        at = run.end
    return story + list(_rest(job, at, now, is_first=not story))


def _runs(job: Subject, attempts: Iterable[Run]) -> Iterator[Step]:
    """The attempts that failed; the one that succeeded or goes on leaves no row of its own."""
    ended: list[Step] = []
    for run in attempts:
        start = run.started_at or run.finished_at
        ended.append(Step(_status_of(run), f"Attempt {run.number}", start, run.finished_at))
    yield from ended
    is_told = any(step.start == job.started_at for step in ended)
    if job.started_at and job.finished_at and not is_told and job.status != Status.DLQ:
        yield Step(Status(job.status), f"Attempt {job.attempt}", job.started_at, job.finished_at)


def _status_of(run: Run) -> Status:
    return Status.DLQ if run.outcome == AttemptOutcome.LOST else Status.FAILED


def _wait(start: datetime, end: datetime, job: Subject, *, is_first: bool) -> Iterator[Step]:
    """From the submission or an attempt's end until a worker took the job."""
    if is_first and start < job.run_at < end:
        yield Step(Status.SCHEDULED, "Scheduled", start, job.run_at)
        start = job.run_at
    if end > start:
        yield Step(Status.PENDING, "Waited" if is_first else "Until the retry", start, end)


def _rest(job: Subject, at: datetime, now: datetime, *, is_first: bool) -> Iterator[Step]:
    """What the job does now, if it is not over."""
    match Status(job.status):
        case Status.RUNNING:
            start = job.started_at or at
            yield from _wait(at, start, job, is_first=is_first)
            yield Step(Status.RUNNING, f"Attempt {job.attempt}", start, now, is_open=True)
        case Status.PENDING:
            if is_first and at < job.run_at < now:
                yield Step(Status.SCHEDULED, "Scheduled", at, job.run_at)
                at = job.run_at
            yield Step(Status.PENDING, "Waiting", at, now, is_open=True)
        case Status.SCHEDULED | Status.BLOCKED | Status.FAILED as status:
            label = {Status.FAILED: "Backing off", Status.BLOCKED: "Blocked"}.get(status)
            yield Step(status, label or "Scheduled", at, now, is_open=True)
        case Status.CANCELLED if job.finished_at and job.finished_at > at and not job.started_at:
            yield Step(Status.CANCELLED, "Waited, then cancelled", at, job.finished_at)
        case _:
            pass


def bars(story: Sequence[Step]) -> list[Bar]:
    """The steps side by side, as wide as they were long, and each wide enough to be seen."""
    whole = sum(step.seconds for step in story) or 1
    widths = [max(100 * step.seconds / whole, MIN_WIDTH) for step in story]
    scale = 100 / sum(widths) if widths else 1
    placed, x = [], 0.0
    for step, width in zip(story, widths, strict=True):
        placed.append(Bar(round(x, 2), round(width * scale, 2), step))
        x += width * scale
    return placed
