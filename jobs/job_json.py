"""A job as JSON: the one shape that REST, commands and anything else show to the outside."""

from dataclasses import asdict
from typing import Any

from jobs.errors import InsufficientScope
from jobs.exact_json import Raw
from jobs.instants import instant
from jobs.models import Attempt, Job
from jobs.submission import tags_of
from jobs.why import Explanation


def job_as_json(job: Job) -> dict[str, Any]:
    """The job, for `exact_json.dumps`: payload and result are spliced in as they were sent."""
    return {
        "id": str(job.pk),
        "task": job.task,
        "queue": job.queue,
        "status": job.status,
        "priority": job.priority,
        "payload": _raw(job.payload),
        "result": _raw(job.result),
        "error": error_as_json(job.error_type, job.error_message),
        "reason": job.reason or None,
        "attempt": job.attempt,
        "max_retries": job.max_retries,
        "lost_count": job.lost_count,
        "run_at": instant(job.run_at),
        "created_at": instant(job.created_at),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "lease_expires_at": instant(job.lease_expires_at),
        "timeout_seconds": job.timeout_seconds,
        "tags": job.tags,
        "worker_tags": tags_of(job.worker_tags),
        "idempotency_key": job.idempotency_key,
        "cancel_requested": job.cancel_requested,
        "worker": job.worker or None,
        "unreadable": job.unreadable or None,
    }


def without_contents(shown: dict[str, Any], *, is_new: bool = False) -> dict[str, Any]:
    """The same job for who may not read: without what it carries.

    Who has just made it knows its payload, but is told no result.
    """
    return {**shown, **(_NOTHING_YET if is_new else _WITHHELD)}


_NOTHING_YET = {"result": None, "error": None}
_WITHHELD = {"payload": None, **_NOTHING_YET, "unreadable": InsufficientScope.code}


def attempt_as_json(attempt: Attempt) -> dict[str, Any]:
    """One run that failed or was lost."""
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "error": error_as_json(attempt.error_type, attempt.message),
        "traceback": attempt.traceback or None,
        "worker": attempt.worker,
        "started_at": instant(attempt.started_at),
        "finished_at": instant(attempt.finished_at),
    }


def explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    """Why a job waits."""
    return {
        "status": explanation.status.value,
        "text": explanation.text,
        "gates": [
            {**asdict(gate), "opens_at": instant(gate.opens_at)} for gate in explanation.gates
        ],
    }


def error_as_json(error_type: str, message: str) -> dict[str, str] | None:
    """An error, or null where there was none."""
    return {"type": error_type, "message": message} if error_type or message else None


def _raw(source: bytes | memoryview | None) -> Raw | None:
    return None if source is None else Raw(bytes(source))
