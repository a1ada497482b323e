"""What there is to lease for the own workers of some tenants.

It locks nothing, and so is only a guess; the claim decides again.
"""

from collections.abc import Collection
from typing import NamedTuple

from jobs.statuses import Status
from jobs.store.dialect import BY_KEY, array, fetch, is_postgresql
from jobs.store.lines import Line, lines_of
from jobs.store.rooms import Rooms


class Offer(NamedTuple):
    """A line with so many ready jobs that its limits, each seen on its own, let start now."""

    line: Line
    jobs: int


# For each line of the tenants, up to `most` entries of the index of ready jobs are read: their
# product is what a look can cost. MATERIALIZED: otherwise each is counted twice.
_READY = f"""
WITH ready AS MATERIALIZED (
    SELECT line.lane_id, line.id AS line_id, (
        SELECT count(*) FROM (
            SELECT 1 FROM jobs_job
            WHERE lane_id = line.lane_id AND line_id = line.id AND status = '{Status.PENDING}'
            LIMIT %(most)s
        ) AS counted
    ) AS jobs
    FROM jobs_lane AS lane JOIN jobs_line AS line ON line.lane_id = lane.id
    WHERE lane.tenant_id = ANY(%(tenants)s)
)
SELECT lane_id, line_id, jobs FROM ready WHERE jobs > 0"""


def offers(tenant_ids: Collection[int], *, most: int) -> list[Offer]:
    """The lines of these tenants with ready jobs, at most `most` of each, that may start now."""
    asked = {"tenants": array(tenant_ids), "most": most}
    found = fetch(_READY, asked, before=[BY_KEY] if is_postgresql() else [])
    if not found:
        return []
    ready = {line_id: jobs for _, line_id, jobs in found}
    lines = [line for line in lines_of({lane for lane, *_ in found}) if line.id in ready]
    rooms = Rooms(lines)
    seen = [Offer(line, rooms.within(ready[line.id], *line.limits)) for line in lines]
    return [offer for offer in seen if offer.jobs > 0]
