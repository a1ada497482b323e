"""What workers over REST say that their jobs log: kept with the attempt, under the fence."""

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from jobs import store
from jobs.conf import conf
from jobs.data_keys import key_of
from jobs.leases_reported import Answer, answers_to, find_reported, is_held, refusal_of
from jobs.models import ApiKey, Job
from jobs.store import Lease, Logged
from jobs.store.log_lines import LEVELS


class ToldLine(NamedTuple):
    """A line as a worker tells it; `at` of None: when it came."""

    message: str
    level: int = LEVELS["info"]
    logger: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an attempt has logged: its lines from number `first` on."""

    job_id: uuid.UUID
    fence: int
    first: int
    lines: Sequence[ToldLine]


def log(key: ApiKey, reports: Sequence[Told]) -> list[Answer]:
    """Keep what attempts log, within the limits of the installation, while their leases are held.

    Lines whose numbers are there already are passed over, so saying the same again changes nothing.
    Raises `EncryptionKeyMissing` where lines cannot be sealed: they are to be said again later.
    """
    jobs = find_reported(key, reports)
    held = [report for report in reports if is_held(jobs.get(report.job_id), report)]
    lines = [line for report in held for line in _logged(jobs[report.job_id], report)]
    passed_over = {Lease(line.job_id, line.fence) for line in lines}
    passed_over -= store.keep_log(lines) if lines else set()
    if passed_over and key.tenant.key_id:
        key_of(key.tenant.key_id)
    kept = {Lease(x.job_id, x.fence) for x in held} - passed_over
    return answers_to(key, reports, kept, refusal_of)


def _logged(job: Job, report: Told) -> Iterator[Logged]:
    """The lines of a level that is kept; one behind the last that is kept says there were more."""
    least = LEVELS.get(conf().log_level.lower(), math.inf)
    for number, line in enumerate(_within_limit(report), report.first):
        if line.level >= least:
            yield Logged(
                job_id=job.pk,
                fence=job.fence,
                attempt=job.attempt,
                number=number,
                at=line.at or job.now,  # type: ignore[attr-defined]
                level=line.level,
                logger=line.logger,
                message=line.message,
            )


def _within_limit(report: Told) -> Sequence[ToldLine]:
    most = conf().max_log_lines
    room = most - report.first + 1
    if len(report.lines) <= room or room < 0:
        return report.lines[: max(0, room)]
    more = ToldLine(f"More lines followed: {most:,} are kept of an attempt.", LEVELS["critical"])
    return [*report.lines[:room], more]
