"""The attempts of a job as its page tells them, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.traceback_text import Part, parts
from jobs.models import Attempt, Job
from jobs.statuses import AttemptOutcome, Status

SHOWN = 100
_WITHOUT_ROW = {
    Status.RUNNING: "running",
    Status.DONE: "succeeded",
    Status.CANCELLED: "cancelled",
}
"""What the last attempt of a job in this status did, if it left no row of its own."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """An attempt. `hue` is the class of its colour."""

    number: int
    fence: int
    outcome: str
    hue: str
    worker: str
    started_at: datetime | None
    finished_at: datetime | None
    error_type: str = ""
    message: str = ""
    traceback: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether it has an error to tell."""
        return self.outcome in set(AttemptOutcome)

    @property
    def parts(self) -> Sequence[Part]:
        """The traceback without the last line, which the type and the message have told."""
        told = f"\n{self.error_type}: {self.message}".rstrip()
        return parts(self.traceback.rstrip().removesuffix(told))


def failed_attempts(job: Job) -> list[Attempt]:
    """Those that failed or were lost."""
    return list(job.attempts.order_by("-fence")[:SHOWN])


def told(job: Job, failed: Sequence[Attempt]) -> list[Told]:
    """These attempts, and the one that goes on or has succeeded."""
    return [*_last(job, failed), *map(_told, failed)]


def _last(job: Job, failed: Sequence[Attempt]) -> list[Told]:
    """The attempt that left no row: only those that failed or were lost do."""
    outcome = _WITHOUT_ROW.get(Status(job.status))
    is_told = any(row.started_at == job.started_at for row in failed)
    if outcome is None or job.started_at is None or is_told:
        return []
    return [
        Told(
            number=job.attempt,
            fence=job.fence,
            outcome=outcome,
            hue=f"status-{job.status.lower()}",
            worker=job.worker,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )
    ]


def _told(row: Attempt) -> Told:
    return Told(
        number=row.number,
        fence=row.fence,
        outcome=row.outcome,
        hue=f"attempt-{row.outcome}",
        worker=row.worker,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error_type=row.error_type,
        message=row.message,
        traceback=row.traceback,
    )
