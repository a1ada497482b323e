"""Every tunable of the project: one frozen object, units in the names, validated when read.

Set any of them in the `JOBQUEUE` dict of Django's settings; unknown or impossible values are
errors of `manage.py check`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_amount(value: object) -> bool:
    return _is_count(value) or (type(value) is float and 0 < value < math.inf)


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF")
MAX_WORKER_TAGS = 7
"""As many of the longest tags as a job has room for."""
_KINDS: dict[Any, tuple[str, Callable[[object], bool]]] = {
    int: ("a positive integer", _is_count),
    float: ("a positive number", _is_amount),
    float | None: ("a positive number or None", lambda value: value is None or _is_amount(value)),
    str: ("a level of logging or OFF", lambda value: value in LOG_LEVELS),
    tuple[str, ...]: ("a list of texts", _is_texts),
}
"""What a value of each declared type has to be, in words and as a test."""


@dataclass(frozen=True)
class Conf:
    """The project's tunables with their defaults."""

    # What a submission may carry.
    max_payload_bytes: int = 1_000_000
    max_result_bytes: int = 1_000_000
    max_json_depth: int = 64
    max_bulk_jobs: int = 1_000
    max_queues_per_tenant: int = 1_000
    max_keys_per_tenant: int = 1_000
    max_task_limits_per_tenant: int = 100
    max_lines_per_tenant: int = 5_000
    max_operations_per_tenant: int = 100
    max_worker_tags: int = 5
    max_body_bytes: int = 5_000_000
    max_tags: int = 20
    max_delay_seconds: float = 366 * 86_400
    max_timeout_seconds: float = 86_400
    max_retries_limit: int = 100

    # What a task gets when it does not say.
    default_max_retries: int = 3
    default_timeout_seconds: float = 3_600
    backoff_base_seconds: float = 2
    backoff_max_seconds: float = 3_600

    # Leases: a worker that is silent for `lease_seconds` loses its jobs.
    lease_seconds: float = 30
    heartbeat_seconds: float = 3
    reap_interval_seconds: float = 2
    max_lost: int = 3

    # The engine.
    poll_interval_seconds: float = 1.5
    promote_interval_seconds: float = 2
    operation_interval_seconds: float = 5
    claim_batch: int = 500
    claim_buffer_seconds: float = 0.05
    finish_batch: int = 500
    drain_seconds: float = 25
    worker_retention_seconds: float = 3_600

    # How long what has ended is kept, by days after its end; None is for ever. A tenant may have
    # its own. Deleted in small batches, by one process at a time.
    keep_finished_days: float | None = 7
    keep_dead_days: float | None = None
    keep_operations_days: float | None = 90
    purge_interval_seconds: float = 300
    purge_batch: int = 1_000

    # What error texts keep (characters).
    max_error_message: int = 2_000
    max_traceback: int = 16_000

    # What is kept of what an attempt logs: from this level on, OFF for nothing; lines, and
    # characters of a line.
    log_level: str = "INFO"
    max_log_lines: int = 1_000
    max_log_message: int = 4_000

    # The edge.
    authentication_failures_per_minute: int = 100
    max_held_per_tenant: int = 2_000
    requests_per_minute: int = 60_000
    webhook_private_hosts: tuple[str, ...] = field(default=())

    def problems(self) -> list[str]:
        """What is impossible about these values, in words; empty when all is well."""
        wrong = [
            f"{f.name} must be {_KINDS[f.type][0]}, not {getattr(self, f.name)!r}"
            for f in fields(self)
            if not _KINDS[f.type][1](getattr(self, f.name))
        ]
        if not wrong and self.max_worker_tags > MAX_WORKER_TAGS:
            wrong.append(f"max_worker_tags must be at most {MAX_WORKER_TAGS}")
        if not wrong and self.heartbeat_seconds > self.lease_seconds / 3:
            wrong.append("heartbeat_seconds must be at most a third of lease_seconds")
        return wrong


def known_keys() -> frozenset[str]:
    """The keys that the `JOBQUEUE` setting may hold."""
    return frozenset(f.name for f in fields(Conf))


@lru_cache(maxsize=1)
def conf() -> Conf:
    """The tunables in force. Unknown keys are reported by the system check, not here."""
    given = getattr(settings, "JOBQUEUE", {})
    return Conf(**{key: value for key, value in given.items() if key in known_keys()})


@receiver(setting_changed)
def _forget_conf(*, setting: str, **kwargs: object) -> None:
    if setting == "JOBQUEUE":
        conf.cache_clear()
