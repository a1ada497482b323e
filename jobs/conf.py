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


def _tunable(default: Any, meaning: str) -> Any:
    """A field with its default, and with what it says, for those who look at the settings."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Conf:
    """The project's tunables with their defaults."""

    # What a submission may carry.
    max_payload_bytes: int = _tunable(1_000_000, "bytes of a job's payload")
    max_result_bytes: int = _tunable(1_000_000, "bytes of a job's result")
    max_json_depth: int = _tunable(64, "how deep a payload or a result may be nested")
    max_bulk_jobs: int = _tunable(1_000, "jobs in one call")
    max_queues_per_tenant: int = _tunable(1_000, "queues of a tenant")
    max_keys_per_tenant: int = _tunable(1_000, "API keys of a tenant that are valid")
    max_task_limits_per_tenant: int = _tunable(
        100, "limits of tasks that a tenant may have of its own"
    )
    max_lines_per_tenant: int = _tunable(
        5_000, "kinds of jobs of a tenant: of one queue, one task and the same worker tags"
    )
    max_operations_per_tenant: int = _tunable(100, "bulk actions of a tenant that are under way")
    max_worker_tags: int = _tunable(5, "tags that a job may ask of its worker")
    max_body_bytes: int = _tunable(5_000_000, "bytes of a request's body")
    max_tags: int = _tunable(20, "tags of a job")
    max_delay_seconds: float = _tunable(
        366 * 86_400, "how far ahead a job may be scheduled, or tried again"
    )
    max_timeout_seconds: float = _tunable(86_400, "the longest timeout that a job may ask for")
    max_retries_limit: int = _tunable(100, "the most retries that a job may ask for")

    # What a task gets when it does not say.
    default_max_retries: int = _tunable(3, "how often a job that failed is tried again")
    default_timeout_seconds: float = _tunable(3_600, "how long an attempt may run")
    backoff_base_seconds: float = _tunable(
        2, "the wait before the first retry; each further one doubles it, with jitter"
    )
    backoff_max_seconds: float = _tunable(3_600, "the longest wait before a retry")

    # Leases: a worker that is silent for `lease_seconds` loses its jobs.
    lease_seconds: float = _tunable(
        30, "how long a worker may be silent before its jobs are given to others"
    )
    heartbeat_seconds: float = _tunable(
        3, "how often a worker says that it is alive; at most a third of `lease_seconds`"
    )
    reap_interval_seconds: float = _tunable(2, "how often leases that have run out are looked for")
    max_lost: int = _tunable(3, "how often a job may lose its worker before it is a dead letter")

    # The engine.
    poll_interval_seconds: float = _tunable(
        1.5, "how often an idle worker looks by itself; new jobs wake it at once"
    )
    promote_interval_seconds: float = _tunable(
        2, "how often jobs whose time has come are made ready"
    )
    operation_interval_seconds: float = _tunable(5, "how often bulk actions are looked for")
    claim_batch: int = _tunable(500, "jobs that a worker process claims at once")
    claim_buffer_seconds: float = _tunable(0.05, "for how long ahead a worker process claims jobs")
    finish_batch: int = _tunable(500, "outcomes that a worker process records at once")
    drain_seconds: float = _tunable(
        25, "how long a worker that was told to stop lets its jobs run on"
    )
    worker_retention_seconds: float = _tunable(
        3_600, "how long a worker that is gone is remembered"
    )

    # How long what has ended is kept, by days after its end; None is for ever. A tenant may have
    # its own. Deleted in small batches, by one process at a time.
    keep_finished_days: float | None = _tunable(
        7, "days that DONE and CANCELLED jobs are kept; a tenant may have its own"
    )
    keep_dead_days: float | None = _tunable(
        None, "days that dead letters are kept; a tenant may have its own"
    )
    keep_operations_days: float | None = _tunable(
        90, "days that bulk actions that have ended are kept"
    )
    purge_interval_seconds: float = _tunable(
        300, "how often it is looked for what is no longer to be kept"
    )
    purge_batch: int = _tunable(1_000, "rows that are deleted at once")

    # What error texts keep (characters).
    max_error_message: int = _tunable(2_000, "characters that are kept of an error's message")
    max_traceback: int = _tunable(16_000, "characters that are kept of a traceback: the last")

    # What is kept of what an attempt logs: from this level on, OFF for nothing; lines, and
    # characters of a line.
    log_level: str = _tunable(
        "INFO", "the level from which on lines that jobs log are kept; `OFF` for none"
    )
    max_log_lines: int = _tunable(1_000, "lines that are kept of an attempt")
    max_log_message: int = _tunable(4_000, "characters that are kept of a line")

    # The edge.
    authentication_failures_per_minute: int = _tunable(
        100, "wrong keys from one address before it is refused"
    )
    max_held_per_tenant: int = _tunable(
        2_000, "calls and streams of a tenant that may wait at the same time"
    )
    requests_per_minute: int = _tunable(60_000, "calls of a tenant")
    webhook_private_hosts: tuple[str, ...] = _tunable(
        (), "hosts of your own network that webhooks may be sent to"
    )

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
