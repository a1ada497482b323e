"""What has ended long ago is deleted, with all that belongs to it, in short transactions.

A tenant's jobs are read in the order of their ids, which is that in which they were submitted: no
index has to be kept for it. What lives, or is kept longer, is read and left alone.
"""

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from django.db import connection

from jobs.statuses import Status
from jobs.store.dialect import (
    BY_KEY,
    BY_TENANT,
    array,
    as_uuid,
    fetch,
    find_rows_by_key,
    is_postgresql,
    one_writer,
    scalar,
    sql,
)
from jobs.store.minutes import LaneKey, count_purged
from jobs.uuid7 import first_id

FIRST_ID = uuid.UUID(int=0)
_NEVER = 1e10
"""Seconds that have not gone by since anything ended, and that both databases can go back."""


class Ages(NamedTuple):
    """How many seconds after its end a job is old: DONE or CANCELLED, and dead; None for never."""

    finished: float | None
    dead: float | None

    @property
    def least(self) -> float | None:
        """The least of them; None if nothing ever gets old."""
        return min((age for age in self if age is not None), default=None)

    @property
    def parameters(self) -> dict[str, float]:
        """What the statements compare with."""
        finished, dead = (_NEVER if age is None else min(age, _NEVER) for age in self)
        return {"finished": float(finished), "dead": float(dead)}


class Slice(NamedTuple):
    """Some of a tenant's jobs, one after the other: those that are old, and where to go on."""

    old: list[uuid.UUID]
    last: uuid.UUID | None


_IS_OLD = f"""(
    status IN ('{Status.DONE}', '{Status.CANCELLED}') AND finished_at < IN_SECONDS(-%(finished)s)
    OR status = '{Status.DLQ}' AND finished_at < IN_SECONDS(-%(dead)s))"""

_SLICE = f"""
SELECT id, {_IS_OLD} FROM jobs_job
WHERE tenant_id = %(tenant)s AND id > %(after)s AND id < %(until)s
ORDER BY id LIMIT %(limit)s"""


def find_old(
    tenant_id: int, ages: Ages, *, after: uuid.UUID, until: uuid.UUID, limit: int
) -> Slice:
    """Look at up to `limit` jobs of the tenant, those with ids between the two."""
    parameters = {
        "tenant": tenant_id,
        "after": scalar(after),
        "until": scalar(until),
        "limit": limit,
        **ages.parameters,
    }
    rows = fetch(_SLICE, parameters, before=[BY_KEY, BY_TENANT] if is_postgresql() else [])
    ids = [as_uuid(job_id) for job_id, _ in rows]
    old = [job_id for job_id, (_, is_old) in zip(ids, rows, strict=True) if is_old]
    return Slice(old, ids[-1] if len(ids) == limit else None)


def horizon(age: float) -> uuid.UUID:
    """An id that is larger than those of all jobs that ended so many seconds ago."""
    ((now,),) = fetch("SELECT MOMENT()", {})
    return first_id(now - age)


# Looked at once more, as a dead letter may have been sent back since.
_STILL_OLD = f"""
SELECT id, lane_id, tenant_id FROM jobs_job
WHERE id = ANY(%(ids)s) AND {_IS_OLD} LOCK SKIPPING ROWS"""


def purge(job_ids: Iterable[uuid.UUID], ages: Ages) -> int:
    """Delete those of the jobs that are old; answers how many. Waits for nobody."""
    with one_writer():
        find_rows_by_key()
        rows = fetch(_STILL_OLD, {"ids": array(job_ids), **ages.parameters})
        delete([as_uuid(job_id) for job_id, *_ in rows], (LaneKey(*of) for _, *of in rows))
    return len(rows)


_DELETE = (
    "DELETE FROM jobs_attempt WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM jobs_logline WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM jobs_jobtag WHERE job_id = ANY(%(ids)s)",
    "DELETE FROM jobs_job WHERE id = ANY(%(ids)s)",
)


def delete(job_ids: list[uuid.UUID], lanes: Iterable[LaneKey]) -> None:
    """Delete locked jobs with all that belongs to them, and count them in the lane of each."""
    with connection.cursor() as cursor:
        for statement in _DELETE:
            cursor.execute(sql(statement), {"ids": array(job_ids)})
    count_purged(lanes)
