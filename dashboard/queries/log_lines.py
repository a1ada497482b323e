"""What a job has logged, as its page shows it: the last lines of one run."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import QuerySet

from dashboard.scope import PageScope
from jobs.models import Job, LogLine
from jobs.statuses import Status

SHOWN = 300
"""Lines of a run; the text of all of them is a link away."""
RUNS = 20


class Run(NamedTuple):
    """A run that logged: its fence, which of the job's attempts it was, and how many lines."""

    fence: int
    attempt: int
    lines: int


def log_figures(scope: PageScope, job: Job, wanted: str) -> Mapping[str, Any]:
    """The runs that logged, newest first, and the last lines of the run whose fence is wanted, or
    of the newest; nothing for who may not read the job's payload."""
    if job.tenant_id not in scope.readable:
        return {"job": job, "is_readable": False}
    runs = runs_of(job)
    chosen = next((run for run in runs if str(run.fence) == wanted), runs[0] if runs else None)
    lines = list(lines_of(job, chosen.fence).reverse()[:SHOWN])[::-1] if chosen else []
    return {
        "job": job,
        "is_readable": True,
        "is_live": job.status == Status.RUNNING,
        "runs": runs,
        "chosen": chosen,
        "lines": lines,
        "earlier": lines[0].number - 1 if lines else 0,
    }


def lines_of(job: Job, fence: int) -> QuerySet[LogLine]:
    """The lines of one run, in order."""
    return LogLine.objects.filter(job_id=job.pk, fence=fence).order_by("number")


def runs_of(job: Job) -> list[Run]:
    """The last runs that logged anything; each is one step down the index."""
    lines = LogLine.objects.filter(job_id=job.pk).order_by("-fence", "-number")
    found: list[Run] = []
    while len(found) < RUNS:
        older = lines.filter(fence__lt=found[-1].fence) if found else lines
        last = older.values_list("fence", "attempt", "number").first()
        if last is None:
            break
        found.append(Run(*last))
    return found
