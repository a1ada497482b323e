"""What attempts log is kept while they are under way, under their fences."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from jobs.conf import conf
from jobs.data_keys import DataKey, key_of, openable
from jobs.encryption import JobSeal
from jobs.statuses import Status
from jobs.store.dialect import array, as_uuid, fetch, one_writer, scalar, sql
from jobs.store.finish import storable
from jobs.store.lease import Lease

MAX_LOGGER = 100
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""The levels that a line can have, as in Python's logging."""


@dataclass(slots=True, kw_only=True)
class Logged:
    """A line of an attempt, made storable whoever it comes from: one odd line must not keep the
    others of its batch from being written."""

    job_id: uuid.UUID
    fence: int
    attempt: int
    number: int
    at: datetime
    level: int
    message: str
    logger: str = ""

    def __post_init__(self) -> None:
        self.level = max((x for x in LEVELS.values() if x <= self.level), default=LEVELS["debug"])
        self.logger = storable(self.logger)[:MAX_LOGGER]
        self.message = storable(_shortened(self.message, conf().max_log_message))


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … {len(text) - limit:,} more characters"


# Found by the primary key, as where outcomes are recorded.
_UNDER_WAY = f"""
SELECT job.id, job.fence, tenant.key_id
FROM jobs_job AS job JOIN jobs_tenant AS tenant ON tenant.id = job.tenant_id
WHERE job.id = ANY(%(ids)s) AND job.status || '' = '{Status.RUNNING}'"""

# Under the fence once more: the lease may have been lost since they were asked for.
_KEEP = f"""
INSERT INTO jobs_logline (job_id, attempt, fence, number, at, level, logger, message)
SELECT id, %(attempt)s, fence, %(number)s, %(at)s, %(level)s, %(logger)s, %(message)s
FROM jobs_job
WHERE id = %(id)s AND fence = %(fence)s AND status || '' = '{Status.RUNNING}'
ON CONFLICT DO NOTHING"""


def keep_log(lines: Sequence[Logged]) -> set[Lease]:
    """Keep the lines of attempts that hold their lease, and answer which did; those of others are
    passed over.

    So are lines that were kept before: repeating a call whose answer got lost changes nothing. And
    so are those of a tenant who is encrypted with a key that cannot be opened.
    """
    ids = {line.job_id for line in lines}
    with one_writer():
        rows = fetch(_UNDER_WAY, {"ids": array(sorted(ids))})
        keys = {key_id for *_, key_id in rows}
        opened = {0: None} | {key_id: key_of(key_id) for key_id in openable(keys - {0})}
        held = {(as_uuid(x), fence): opened[key] for x, fence, key in rows if key in opened}
        rows = [
            _row(line, held[line.job_id, line.fence])
            for line in lines
            if (line.job_id, line.fence) in held
        ]
        if rows:
            with connection.cursor() as cursor:
                cursor.executemany(sql(_KEEP), rows)
    return {Lease(*lease) for lease in held}


def _row(line: Logged, key: DataKey | None) -> dict[str, Any]:
    message = line.message
    if key:
        row = f"{line.fence}/{line.number}"
        message = JobSeal(key, line.job_id).seal_text("log", message, row=row)
    return {
        "id": scalar(line.job_id),
        "attempt": line.attempt,
        "fence": line.fence,
        "number": line.number,
        "at": connection.ops.adapt_datetimefield_value(line.at),
        "level": line.level,
        "logger": line.logger,
        "message": message,
    }
