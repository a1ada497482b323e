"""The worker processes, for those who look after the machines: what they run, quiet and stop."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.pages import live_page, plain_page
from dashboard.queries import workers
from dashboard.scope import PageScope, scope_of
from jobs.access import actor_of, may_ask_workers
from jobs.conf import conf
from jobs.errors import StatusConflict
from jobs.models import Worker
from jobs.statuses import WorkerRequest
from jobs.worker_requests import ask_worker

REQUESTS = {"quiet": WorkerRequest.QUIET, "stop": WorkerRequest.STOP, "resume": None}


@require_safe
@login_required
def worker_list(request: HttpRequest) -> HttpResponse:
    """The worker processes with their slots, jobs, memory and versions."""
    scope = _operators(request)
    regions = {"worker_list": lambda: {"rows": workers.rows()}}
    may_ask = may_ask_workers(request.user)
    return live_page(request, scope, "workers", regions, may_ask=may_ask)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def ask(request: HttpRequest, worker_id: str, action: str) -> HttpResponse:
    """Ask whether it is meant, with what runs; have a process quiet, stopped or going on."""
    scope = _operators(request)
    if not may_ask_workers(request.user):
        raise PermissionDenied("This needs the permission to change workers.")
    worker = Worker.objects.filter(pk=worker_id, tenant=None).first()
    if worker is None:
        raise Http404("There is no such worker.")
    if request.method != "POST":
        return plain_page(request, scope, "ask_worker", worker=worker, action=action, conf=conf())
    try:
        ask_worker(worker, REQUESTS[action], actor=actor_of(request))
        messages.success(request, f"It is told with its next heartbeat: {action}.")
    except StatusConflict as error:
        messages.error(request, error.detail)
    return redirect("workers")


def _operators(request: HttpRequest) -> PageScope:
    scope = scope_of(request)
    if not scope.is_operator:
        raise Http404("Workers are shown to operators.")
    return scope
