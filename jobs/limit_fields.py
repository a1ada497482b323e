"""The limits that a tenant may change, each with what it takes: in requests and in forms."""

from collections.abc import Mapping

from jobs.fields import Field, bounded, integer

MAX_LIMIT = 2**31 - 1
MAX_WEIGHT = 1_000
_LIMIT = bounded(integer, 1, MAX_LIMIT, or_null=True)

TASK_LIMITS: Mapping[str, Field] = {
    "max_running": _LIMIT,
    "starts_per_minute": _LIMIT,
    "start_burst": bounded(integer, 1, MAX_LIMIT),
}
QUEUE_LIMITS: Mapping[str, Field] = {
    **TASK_LIMITS,
    "weight": bounded(integer, 1, MAX_WEIGHT),
}
TENANT_LIMITS: Mapping[str, Field] = {
    **TASK_LIMITS,
    "submissions_per_minute": _LIMIT,
    "max_pending": _LIMIT,
}
