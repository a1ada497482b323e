"""Bulk actions on what matches a filter: asked about first, then begun, watched and cancelled."""

import uuid
from collections.abc import Mapping
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.forms import OperationForm
from dashboard.queries import job_list, operations
from dashboard.queries.counts import Count
from dashboard.scope import PageScope, scope_of
from jobs.access import actor_of
from jobs.errors import JobQueueError, OperationNotFound
from jobs.filters import MAX_CHARACTERS
from jobs.instants import instant
from jobs.models import Operation, Tenant
from jobs.operations import cancel, get_operation, preview, start
from jobs.statuses import BulkAction, OperationState
from jobs.store.clock import now

STOPPED = {OperationState.CANCELLED, OperationState.FAILED}
COUNTING_SECONDS = 0.1
"""After so long the page is shown with what was counted."""
CONSEQUENCES: Mapping[BulkAction, str] = {
    BulkAction.CANCEL: "Those that wait will not run; those that run are stopped by their workers.",
    BulkAction.RETRY: "They are tried again now instead of at their time.",
    BulkAction.REDRIVE: "They run again from the start.",
    BulkAction.DISCARD: "They and their attempts are deleted for good.",
}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def start_operation(request: HttpRequest) -> HttpResponse:
    """Ask whether it is meant, with the count and a sample; begin it if so.

    The question settles what it is about: jobs that come, or die, while it is read are none of it.
    """
    scope = scope_of(request)
    if not scope.tenants:
        return redirect("overview")
    scope.require_operable(scope.ids)
    tenant = _whose(scope)
    given = request.POST if request.method == "POST" else _settled(request.GET)
    form = OperationForm(scope, given)
    if form.is_valid() and request.method == "POST":
        try:
            begun = start(tenant, *form.asked, actor=actor_of(request), rate_per_second=form.pace)
        except JobQueueError as error:
            form.add_error(None, error.detail)
        else:
            return redirect("operation", begun.pk)
    return _ask(request, scope, form, tenant)


def _whose(scope: PageScope) -> Tenant | None:
    """The tenant whose jobs it is about; None for those of all."""
    if len(scope.searched) > 1:
        raise BadRequest("Choose one tenant first.")
    return scope.searched[0]


def _settled(asked: Mapping[str, str]) -> dict[str, str]:
    """The question without jobs that its filter would come to match from now on."""
    action, text = asked.get("action", ""), asked.get("filter", "").strip()
    return {"action": action, "filter": text, "as_of": str(instant(now()))}


def _ask(
    request: HttpRequest, scope: PageScope, form: OperationForm, tenant: Tenant | None
) -> HttpResponse:
    context = {"scope": scope, "form": form, "tenant": tenant, "page_name": "start-operation"}
    if form.is_askable:
        action, text = form.asked
        expected = preview(tenant, action, text, seconds=COUNTING_SECONDS)
        context |= {
            "action": action,
            "consequence": CONSEQUENCES[action],
            "count": Count(expected.count, expected.is_capped),
            "sample": job_list.rows_of(scope, expected.sample)[::-1],
        }
    status = 400 if form.errors else 200
    return render(request, "dashboard/start_operation.html", context, status=status)


@require_POST
@login_required
def cancel_operation(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """Let an operation act on no more jobs."""
    scope = scope_of(request)
    operation = found(scope, operation_id)
    scope.require_operable([operation.tenant_id] if operation.tenant_id else scope.ids)
    try:
        cancel(operation, actor=actor_of(request))
        messages.success(request, "It acts on no more jobs; what was done stays done.")
    except JobQueueError as error:
        messages.error(request, error.detail)
    return redirect("operation", operation_id)


def address_of_rest(scope: PageScope, operation: Operation) -> str:
    """Where it is asked about what an operation that was stopped has left; nothing if nowhere."""
    is_askable = scope.reads(operation.tenant_id) and len(operation.filter) <= MAX_CHARACTERS
    if operation.state not in STOPPED or not is_askable:
        return ""
    asked = {"action": operation.action, "filter": operation.filter}
    if operation.tenant_id:
        asked["tenant"] = scope.slugs[operation.tenant_id]
    return f"{reverse('start-operation')}?{urlencode(asked)}"


def found(scope: PageScope, operation_id: uuid.UUID) -> Operation:
    """An operation that the user sees, or a 404."""
    try:
        return get_operation(operations.visible(scope), str(operation_id))
    except OperationNotFound as error:
        raise Http404(error.detail) from error
