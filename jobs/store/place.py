"""The place of a ready job in its lane."""

import uuid

from jobs.models import Line
from jobs.statuses import Status
from jobs.store.dialect import BY_KEY, fetch, is_postgresql, scalar

COUNTED_AT_MOST = 10_000
COUNTED_IN_EACH_LINE = 100
"""Where a lane has so many lines that each gets less than this of the whole, it gets this."""

# Line by line, of each the first in the order they run: so what is read is bounded, however long a
# line is and wherever in it the job stands.
_AHEAD = f"""
SELECT (
    SELECT count(*) FROM (
        SELECT priority * -1 AS rank, run_at, id FROM jobs_job
        WHERE lane_id = line.lane_id AND line_id = line.id AND status = '{Status.PENDING}'
        ORDER BY priority * -1, run_at, id LIMIT %(at_most)s
    ) AS first
    WHERE (first.rank, first.run_at, first.id) < (own.priority * -1, own.run_at, own.id)
)
FROM jobs_job AS own JOIN jobs_line AS line ON line.lane_id = own.lane_id
WHERE own.id = %(job)s"""


def jobs_ahead(job_id: uuid.UUID, lane_id: int) -> tuple[int, bool]:
    """How many ready jobs of its lane come before the job, and whether that is all of them."""
    lines = Line.objects.filter(lane_id=lane_id).count()
    at_most = max(COUNTED_IN_EACH_LINE, COUNTED_AT_MOST // max(lines, 1))
    found = fetch(
        _AHEAD,
        {"job": scalar(job_id), "at_most": at_most},
        before=[BY_KEY] if is_postgresql() else [],
    )
    counts = [count for (count,) in found]
    return sum(counts), all(count < at_most for count in counts)
