"""What pausing a queue takes, and a queue in JSON: the API and the command line say the same."""

import re
from collections.abc import Mapping
from typing import Any

from jobs import figures
from jobs.ceilings import ceiling
from jobs.errors import InvalidInput, QueueNotFound
from jobs.fields import ONE_LINE, Field, text
from jobs.instants import instant
from jobs.models import START_LIMITS, Lane, Tenant
from jobs.models.tenants import MAX_REASON


def _reason(value: Any) -> str:
    if not re.fullmatch(rf"{ONE_LINE}{{0,{MAX_REASON}}}", text(value)):
        raise InvalidInput(f"must be one line of up to {MAX_REASON} characters.")
    return str(value)


PAUSE_FIELDS: Mapping[str, Field] = {
    "reason": Field(
        _reason, {"type": "string", "maxLength": MAX_REASON, "pattern": f"^{ONE_LINE}*$"}
    )
}


def lane_named(tenant: Tenant, queue: str) -> dict[str, Any]:
    """A queue of the tenant as it stands now. Raises `QueueNotFound`."""
    for lane in figures.lanes_of(tenant, queue):
        return lane_as_json(lane)
    raise QueueNotFound(tenant.slug, queue)


def lane_as_json(figures_of: figures.LaneFigures[Lane]) -> dict[str, Any]:
    """A queue with its depth, its age and its limits."""
    lane = figures_of.lane
    return {
        "name": lane.queue,
        "paused": lane.is_paused,
        "paused_at": instant(lane.paused_at) if lane.paused_at else None,
        "paused_by": lane.paused_by or None,
        "pause_reason": lane.pause_reason or None,
        "weight": lane.weight,
        **{name: getattr(lane, name) for name in START_LIMITS},
        "ceilings": {name: ceiling(lane, name) for name in START_LIMITS},
        "depth": {status.value: figures_of.depth[status] for status in figures.LIVE},
        "dead": figures_of.depth["DLQ"],
        "oldest_waiting_seconds": figures_of.oldest_waiting_seconds,
    }
