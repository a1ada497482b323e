"""What people do on the pages. Each is a POST that calls a service and leads back to a page.
Who may not operate the jobs of a tenant gets a 403.

What cannot be undone answers a GET with the question whether it is meant, and with the count.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from dashboard.forms import SubmitForm
from dashboard.job_page import is_copyable
from dashboard.pages import back, plain_page
from dashboard.queries.job_list import rows_of
from dashboard.scope import PageScope, scope_of
from jobs import services
from jobs.access import actor_of
from jobs.errors import InvalidInput, JobQueueError
from jobs.models import Job


def _cancel(job: Job, actor: str) -> str:
    asked = services.cancel(job, actor=actor)
    return "Cancelled." if asked.finished_at else "The worker was asked to stop it."


def _retry(job: Job, actor: str) -> str:
    services.retry(job, actor=actor)
    return "It is ready to run again."


def _discard(job: Job, actor: str) -> str:
    gone = services.discard([job.pk], actor=actor, tenant=job.tenant)
    return "Discarded." if gone else "It is no dead letter any more; nothing was discarded."


JOB_ACTIONS: dict[str, Callable[[Job, str], str]] = {
    "cancel": _cancel,
    "retry": _retry,
    "redrive": _retry,
    "discard": _discard,
}
QUESTIONS = {
    "cancel": "Cancel this job? It will not run; if it runs already, its worker stops it.",
    "discard": "Discard 1 dead letter? The job and its attempts are deleted for good.",
}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def act_on_job(request: HttpRequest, job_id: str, action: str) -> HttpResponse:
    """Cancel, retry, redrive or discard one job."""
    scope = scope_of(request)
    job = scope.job(job_id)
    scope.require_operable([job.tenant_id])
    page = reverse("job", args=[job_id])
    if request.method != "POST":
        if action not in QUESTIONS:
            return redirect(page)
        asked: dict[str, Any] = {"question": QUESTIONS[action], "verb": action, "back": page}
        rows = rows_of(scope, [job.pk])
        return plain_page(request, scope, "confirm", rows=rows, **asked)
    try:
        messages.success(request, JOB_ACTIONS[action](job, actor_of(request)))
    except JobQueueError as error:
        messages.error(request, error.detail)
    return redirect("dead") if action == "discard" else back(request, page)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def submit(request: HttpRequest) -> HttpResponse:
    """The form that submits a job; `?like=` begins with what another job was given."""
    scope = scope_of(request)
    if not scope.tenants:
        return redirect("overview")
    if not scope.operable:
        raise PermissionDenied("This needs the role of an operator.")
    like = _like(request, scope)
    form = SubmitForm(scope, request.POST or None, like=like)
    if request.method == "POST" and form.is_valid():
        try:
            tenant, job = form.tenant_of_job(), form.new_job()
            submitted = services.submit_by_hand(tenant, job, actor=actor_of(request))
        except JobQueueError as error:
            _show(form, error)
        else:
            if not submitted.created:
                messages.info(request, "This idempotency key was used before; this is its job.")
            return redirect("job", submitted.job_id)
    context = {"scope": scope, "form": form, "page_name": "submit", "like": like}
    status = 400 if form.errors else 200
    return render(request, "dashboard/submit.html", context, status=status)


def _like(request: HttpRequest, scope: PageScope) -> Job | None:
    """The job to be run once more. Raises `Http404` and `PermissionDenied`."""
    if not (job_id := request.GET.get("like")):
        return None
    job = scope.job(job_id)
    if job.tenant_id not in scope.readable:
        raise PermissionDenied("This needs the right to read payloads.")
    if not is_copyable(job):
        raise Http404("No such job can be submitted from here.")
    return job


def _show(form: SubmitForm, error: JobQueueError) -> None:
    """The domain's refusal, beside the field it is about."""
    pointer = error.pointer if isinstance(error, InvalidInput) else ""
    form.add_error(pointer if pointer in form.fields else None, error.detail)
