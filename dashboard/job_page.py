"""The page of one job, and what belongs to it: payload, result and log as they are stored."""

import shlex
from collections.abc import Generator, Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe

from dashboard import timeline
from dashboard.job_attempts import failed_attempts, told
from dashboard.json_tree import tree
from dashboard.pages import live_page, never_cached
from dashboard.queries.log_lines import lines_of, log_figures
from dashboard.queries.task_runs import task_runs
from dashboard.scope import PageScope, scope_of
from jobs.encryption import why_unreadable
from jobs.exact_json import Raw, dumps
from jobs.instants import instant
from jobs.job_logs import level_name
from jobs.models import Job
from jobs.registry import find_for_tenant, is_for_tenants
from jobs.sending import sent
from jobs.statuses import TERMINAL, TRANSITIONS, WAITING, Move, Status
from jobs.submission import tags_of
from jobs.why import explain

LINES_AT_ONCE = 100
MAX_CURL_BYTES = 8_000


@require_safe
@login_required
def job(request: HttpRequest, job_id: str) -> HttpResponse:
    """One job with all that is known of it; `?run=` chooses the run whose log is shown."""
    scope = scope_of(request)
    found = scope.job(job_id)
    endpoint = request.build_absolute_uri(reverse("api-jobs"))
    regions = {
        "job": lambda: job_figures(scope, found, endpoint),
        "logs": lambda: log_figures(scope, found, request.GET.get("run", "")),
    }
    return live_page(request, scope, "job", regions, live_tenant=found.tenant.slug)


@require_safe
@login_required
def stored_json(request: HttpRequest, job_id: str, part: str) -> HttpResponse:
    """The payload or result of a job, byte for byte. A 404 while it cannot be read."""
    found = _readable(request, job_id)
    if why := why_unreadable(found, (part,)):
        raise Http404(f"The {part} cannot be read: {why.replace('_', ' ')}.")
    stored = {"payload": found.payload, "result": found.result}[part]
    if stored is None:
        raise Http404("The job has no result yet.")
    response = HttpResponse(bytes(stored), content_type="application/json")
    response["Content-Disposition"] = f'inline; filename="{job_id}-{part}.json"'
    return never_cached(response)


@require_safe
@login_required
def log_text(request: HttpRequest, job_id: str, fence: str) -> StreamingHttpResponse:
    """All that one run of a job has logged, as plain text; sent while it is read."""
    pieces = _log_pieces(_readable(request, job_id), int(fence))
    response = StreamingHttpResponse(
        sent(request, pieces), content_type="text/plain; charset=utf-8"
    )
    response["Content-Disposition"] = f'inline; filename="{job_id}-{fence}.log.txt"'
    add_never_cache_headers(response)
    return response


def _log_pieces(job: Job, fence: int) -> Generator[bytes, None, None]:
    last = 0
    while lines := list(lines_of(job, fence).filter(number__gt=last)[:LINES_AT_ONCE]):
        last = lines[-1].number
        yield "".join(
            f"{instant(x.at)}  {level_name(x.level).upper():<8}  {x.logger}: {x.message}\n"
            for x in lines
        ).encode()


def _readable(request: HttpRequest, job_id: str) -> Job:
    """A job whose payload the user may read; a 404 if it is not seen, otherwise a 403."""
    scope = scope_of(request)
    found = scope.job(job_id)
    if found.tenant_id not in scope.readable:
        raise PermissionDenied("This needs the right to read payloads.")
    return found


def job_figures(scope: PageScope, job: Job, endpoint: str) -> Mapping[str, Any]:
    """The figures of the region `job`; `endpoint` is where jobs are submitted over REST."""
    is_readable = job.tenant_id in scope.readable
    is_operable = job.tenant_id in scope.operable
    now = Job.objects.annotate(now=Now()).values_list("now", flat=True).get(pk=job.pk)
    failed = failed_attempts(job)
    story = timeline.phases(job, failed[::-1], now)
    return {
        "job": job,
        "now": now,
        "attempts": told(job, failed),
        "has_failed": job.status in {Status.DLQ, Status.FAILED},
        "lone_error": bool(job.error_type) and not failed,
        "phases": story,
        "bars": timeline.bars(story),
        "is_readable": is_readable,
        "worker_tags": tags_of(job.worker_tags),
        "payload": tree(bytes(job.payload)) if is_readable else "",
        "payload_bytes": len(job.payload),
        "has_result": job.result is not None,
        "may_have_result": job.status not in {Status.DLQ, Status.CANCELLED},
        "result": tree(bytes(job.result)) if is_readable and job.result is not None else "",
        "why": explain(job) if job.status in WAITING else None,
        "has_curl": is_readable and is_copyable(job),
        "curl": curl(job, endpoint) if is_readable and is_copyable(job) else "",
        "max_curl_bytes": MAX_CURL_BYTES,
        "is_from_python": not is_for_tenants(job.task) or job.has_args,
        "is_over": job.status in TERMINAL,
        "actions": allowed_actions(job) if is_operable else set(),
        "may_copy": is_readable and is_operable and is_copyable(job),
        "runs": task_runs(job),
    }


def is_copyable(job: Job) -> bool:
    """Whether a tenant could submit such a job, and its payload can be read."""
    return is_for_tenants(job.task) and not job.has_args and not job.unreadable


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
    """The command that submits the same job again; empty if its payload is too long for a line.

    It says what the task itself does not; the job must be copyable.
    """
    payload = bytes(job.payload)
    if len(payload) > MAX_CURL_BYTES:
        return ""
    body = {"task": job.task, **_unusual(job), "payload": Raw(payload)}
    return " ".join(
        [
            f"curl -X POST {shlex.quote(endpoint)}",
            '-H "Authorization: Bearer $API_KEY"',
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(dumps(body).decode())}",
        ]
    )


def _unusual(job: Job) -> dict[str, Any]:
    """The fields of a job that it would not have from its task alone."""
    task = find_for_tenant(job.task)
    usual = {
        "queue": (job.queue, task.queue_name),
        "priority": (job.priority, task.priority),
        "max_retries": (job.max_retries, task.retries),
        "timeout_seconds": (job.timeout_seconds, task.timeout),
        "tags": (job.tags, []),
        "worker_tags": (tags_of(job.worker_tags), sorted(task.worker_tags)),
    }
    return {name: own for name, (own, its) in usual.items() if own != its}
