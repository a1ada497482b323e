"""What queues and a tenant's figures look like in the OpenAPI description."""

from jobs.api.schema import COUNT, INSTANT, MAYBE_INSTANT, TEXT, nullable, page_schema, record, ref
from jobs.figures import COUNTS
from jobs.models import START_LIMITS
from jobs.statuses import Status
from jobs.store.depths import CAP

_CAPPED = f"Counting stops at {CAP:,}: that many stand for that many or more."
QUEUE_COMPONENT = record(
    {
        "name": TEXT,
        "paused": {"type": "boolean"},
        "paused_at": MAYBE_INSTANT,
        "paused_by": nullable("string"),
        "pause_reason": nullable("string"),
        "weight": COUNT,
        "max_running": nullable("integer"),
        "starts_per_minute": nullable("integer"),
        "start_burst": COUNT,
        "ceilings": record(dict.fromkeys(START_LIMITS, nullable("integer"))),
        "depth": {
            "type": "object",
            "additionalProperties": COUNT,
            "description": _CAPPED,
        },
        "dead": {**COUNT, "description": _CAPPED},
        "oldest_waiting_seconds": nullable(
            "number",
            description="Since the oldest became ready, among the first thousand to run of each "
            "combination of task and worker tags.",
        ),
    }
)
_PERCENTILES = record({name: nullable("number") for name in ("p50", "p95", "p99")})
LANE = ref("Queue")
LANES = page_schema(LANE)
FIGURES = record(
    {
        "counts": {
            **record({status.value: COUNT for status in Status}),
            "description": f"{_CAPPED} DONE are all that ever were.",
        },
        "throughput": {
            "type": "array",
            "items": record({"minute": INSTANT, **dict.fromkeys(COUNTS, COUNT)}),
        },
        "wait_seconds": _PERCENTILES,
        "run_seconds": _PERCENTILES,
        "limits": record(
            dict.fromkeys(
                ("max_running", "starts_per_minute", "submissions_per_minute", "max_pending"),
                nullable("integer"),
            )
        ),
    }
)
