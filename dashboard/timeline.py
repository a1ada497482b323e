"""What happened to a job, as the phases of a strip. Pure: no database, the time is a parameter."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Protocol

from jobs.statuses import AttemptOutcome, Status

MIN_WIDTH = 2.0
"""Of a hundred: so that a short phase can still be seen."""
_ATTEMPT = "Attempt "
_IF_GIVEN_BACK = {
    "Waited": "Waited or ran before it was given back",
    "Until the retry": "Waited or ran before it was given back",
    "Waiting": "Waits, or ran before it was given back",
    "Waited, then cancelled": "Waited or ran, then cancelled",
}
"""A run that was given back leaves no row and no times: what a wait is called that may hide one."""


class Run(Protocol):
    """One attempt that ended without a result."""

    number: int
    fence: int
    outcome: str
    started_at: datetime | None
    finished_at: datetime


class Subject(Protocol):
    """The parts of a job that its story is told from."""

    status: str
    attempt: int
    fence: int
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Phase:
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
    """A phase's place in the strip, in hundredths of its width."""

    x: float
    width: float
    phase: Phase


def phases(job: Subject, attempts: Sequence[Run], now: datetime) -> list[Phase]:
    """The job's life so far: waits, runs and backoffs, in order."""
    return list(_allowing_for_releases(_story(job, attempts, now), job, attempts))


def _allowing_for_releases(
    story: Sequence[Phase], job: Subject, attempts: Sequence[Run]
) -> Iterator[Phase]:
    """The phases; waits in which a worker had the job, as the fences skip one, say that."""
    goes_on = sum(phase.label.startswith(_ATTEMPT) for phase in story) > len(attempts)
    fences = [0, *(run.fence for run in attempts), job.fence + (not goes_on)]
    at = 1
    for phase in story:
        is_skipped = fences[at] - fences[at - 1] > 1
        label = _IF_GIVEN_BACK.get(phase.label, phase.label) if is_skipped else phase.label
        yield replace(phase, label=label)
        at = min(at + phase.label.startswith(_ATTEMPT), len(fences) - 1)


def _story(job: Subject, attempts: Sequence[Run], now: datetime) -> list[Phase]:
    story: list[Phase] = []
    at, last, rounds = job.created_at, 0, 1
    for number, run in _runs(job, attempts):
        is_new_round = number <= last
        if is_new_round:
            rounds += 1
            story.append(_dead(at, run.start, job))
            at = story[-1].end
        story += _wait(at, run.start, job, is_first=is_new_round or not story)
        story.append(replace(run, label=_attempt(number, rounds)))
        at, last = run.end, number
    is_new_round = _is_redriven(job, at, last)
    if is_new_round:
        rounds += 1
        story.append(_dead(at, job.finished_at or job.started_at or now, job))
        at = story[-1].end
    return story + list(_rest(job, at, now, is_first=is_new_round or not story, rounds=rounds))


def _runs(job: Subject, attempts: Iterable[Run]) -> Iterator[tuple[int, Phase]]:
    """The attempts that failed; the one that succeeded or goes on leaves no row of its own."""
    is_told = False
    for run in attempts:
        start = run.started_at or run.finished_at
        is_told = is_told or start == job.started_at
        yield run.number, Phase(_status_of(run), "", start, run.finished_at)
    if job.started_at and job.finished_at and not is_told and job.status != Status.DLQ:
        yield job.attempt, Phase(Status(job.status), "", job.started_at, job.finished_at)


def _is_redriven(job: Subject, at: datetime, last: int) -> bool:
    """Whether the job counts its attempts anew after the last one that is told."""
    if job.status == Status.RUNNING:
        return job.attempt <= last and job.started_at is not None and job.started_at > at
    return job.attempt < last


def _dead(start: datetime, end: datetime, job: Subject) -> Phase:
    """From the death to the redrive; of earlier redrives only the next attempt's start is known."""
    redriven = job.run_at if start < job.run_at < end else end
    return Phase(Status.DLQ, "Dead until the redrive", start, max(redriven, start))


def _attempt(number: int, rounds: int) -> str:
    return f"{_ATTEMPT}{number}" if rounds == 1 else f"{_ATTEMPT}{number} of round {rounds}"


def _status_of(run: Run) -> Status:
    return Status.DLQ if run.outcome == AttemptOutcome.LOST else Status.FAILED


def _wait(start: datetime, end: datetime, job: Subject, *, is_first: bool) -> Iterator[Phase]:
    """From the submission or an attempt's end until a worker took the job."""
    if is_first and start < job.run_at < end:
        yield Phase(Status.SCHEDULED, "Scheduled", start, job.run_at)
        start = job.run_at
    if end > start:
        yield Phase(Status.PENDING, "Waited" if is_first else "Until the retry", start, end)


def _rest(
    job: Subject, at: datetime, now: datetime, *, is_first: bool, rounds: int
) -> Iterator[Phase]:
    """What the job does now, if it is not over."""
    match Status(job.status):
        case Status.RUNNING:
            start = job.started_at or at
            yield from _wait(at, start, job, is_first=is_first)
            label = _attempt(job.attempt, rounds)
            yield Phase(Status.RUNNING, label, start, now, is_open=True)
        case Status.PENDING:
            if is_first and at < job.run_at < now:
                yield Phase(Status.SCHEDULED, "Scheduled", at, job.run_at)
                at = job.run_at
            yield Phase(Status.PENDING, "Waiting", at, now, is_open=True)
        case Status.SCHEDULED | Status.BLOCKED | Status.FAILED as status:
            words = {Status.FAILED: "Backing off", Status.BLOCKED: "Blocked"}
            yield Phase(status, words.get(status, "Scheduled"), at, now, is_open=True)
        case Status.CANCELLED if job.finished_at and job.finished_at > at and not job.started_at:
            yield Phase(Status.CANCELLED, "Waited, then cancelled", at, job.finished_at)
        case _:
            pass


def bars(story: Sequence[Phase]) -> list[Bar]:
    """The phases side by side, as wide as they were long, and each wide enough to be seen."""
    whole = sum(phase.seconds for phase in story) or 1
    widths = [max(100 * phase.seconds / whole, MIN_WIDTH) for phase in story]
    scale = 100 / sum(widths) if widths else 1
    placed, x = [], 0.0
    for phase, width in zip(story, widths, strict=True):
        placed.append(Bar(round(x, 2), round(width * scale, 2), phase))
        x += width * scale
    return placed
