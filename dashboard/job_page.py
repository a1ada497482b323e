"""What the page of one job shows, gathered."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from django.db.models.functions import Now

from dashboard import timeline
from dashboard.json_tree import tree
from dashboard.scope import Scope
from jobs.models import Job
from jobs.statuses import TERMINAL, TRANSITIONS, WAITING, Move, Status
from jobs.submission import tags_of
from jobs.why import explain

MAX_ATTEMPTS = 100
MAX_CURL_BYTES = 8_000


def job_figures(scope: Scope, job: Job, endpoint: str) -> Mapping[str, Any]:
    """The figures of the region `job`; `endpoint` is where jobs are submitted over REST."""
    is_readable = job.tenant_id in scope.readable
    is_operable = job.tenant_id in scope.operable
    now = Job.objects.annotate(now=Now()).values_list("now", flat=True).get(pk=job.pk)
    attempts = list(job.attempts.order_by("-fence")[:MAX_ATTEMPTS])
    story = timeline.steps(job, attempts[::-1], now)
    return {
        "job": job,
        "now": now,
        "attempts": attempts,
        "steps": story,
        "bars": timeline.bars(story),
        "is_readable": is_readable,
        "worker_tags": tags_of(job.worker_tags),
        "payload": tree(bytes(job.payload)) if is_readable else "",
        "payload_bytes": len(job.payload),
        "has_result": job.result is not None,
        "result": tree(bytes(job.result)) if is_readable and job.result is not None else "",
        "why": explain(job) if job.status in WAITING else None,
        "curl": curl(job, endpoint) if is_readable else "",
        "is_over": job.status in TERMINAL,
        "actions": allowed_actions(job) if is_operable else set(),
    }


def allowed_actions(job: Job) -> set[str]:
    """What can be done to a job in its status."""
    status = Status(job.status)
    allowed = {"retry"} if status in TRANSITIONS[Move.RETRY].sources else set()
    if status in TRANSITIONS[Move.REDRIVE].sources:
        allowed |= {"redrive", "discard"}
    if status in {*WAITING, Status.RUNNING} and not job.cancel_requested:
        allowed.add("cancel")
    return allowed


def curl(job: Job, endpoint: str) -> str:
    """The command that submits the same job again; empty if its payload is too long for a line."""
    payload = bytes(job.payload)
    if len(payload) > MAX_CURL_BYTES:
        return ""
    tags = f'"worker_tags": {json.dumps(tags_of(job.worker_tags))}, ' if job.worker_tags else ""
    body = f'{{"task": "{job.task}", "queue": "{job.queue}", {tags}"payload": {payload.decode()}}}'
    return " ".join(
        [
            f"curl -X POST {shlex.quote(endpoint)}",
            '-H "Authorization: Bearer $API_KEY"',
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(body)}",
        ]
    )
