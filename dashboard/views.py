"""The pages: access, then a query, then a template. What changes something is in `actions`."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe
from django_ratelimit.decorators import ratelimit

from dashboard import bulk
from dashboard.pages import live_page, plain_page
from dashboard.queries import dead_letters, history, job_list, operations, workers
from dashboard.queries.board import Board
from dashboard.scope import scope_of
from jobs.filters import WORDS
from jobs.statuses import Status

LOGINS_PER_MINUTE = 10

TILES = (
    *(Status.PENDING, Status.RUNNING, Status.SCHEDULED, Status.FAILED),
    *(Status.DLQ, Status.DONE, Status.BLOCKED, Status.CANCELLED),
)
"""The statuses in the order of the tiles; the last two only if there are such jobs."""


@method_decorator(
    ratelimit(key="ip", rate=f"{LOGINS_PER_MINUTE}/m", method="POST", block=False), name="post"
)
class Login(LoginView):
    """The login page. An address that tries too often is told to wait."""

    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Log in, unless this address has tried too often in the last minute."""
        if getattr(request, "limited", False):
            context = {"form": self.get_form_class()(request), "is_limited": True}
            return self.render_to_response(self.get_context_data(**context), status=429)
        return super().post(request, *args, **kwargs)


@require_safe
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """How things are: figures, what is wrong, throughput, tenants, queues and workers."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    board = Board(scope)
    span = history.RANGES.get(request.GET.get("range", ""), history.RANGES[history.DEFAULT_RANGE])
    regions: dict[str, Callable[[], Mapping[str, Any]]] = {
        "attention": lambda: {
            "dead": board.by_status[Status.DLQ],
            "unserved": board.unserved(),
            "at_limit": board.at_limit(),
        },
        "tiles": lambda: {
            "counts": {status: board.by_status[status] for status in TILES},
            "oldest": board.oldest,
        },
        "throughput": lambda: {
            "series": history.series(scope.ids, span, board.now),
            "span": span,
            "ranges": history.RANGES.values(),
        },
        "queues": lambda: {"rows": board.lane_rows(), "total": len(board.lanes)},
    }
    if scope.names_tenants:
        regions["tenants"] = lambda: {
            "rows": board.tenant_rows(),
            "total": len(scope.ids),
        }
    if scope.is_operator:
        regions["workers"] = lambda: {
            "rows": [row for row in _workers() if row["state"] != "stopped"]
        }
    return live_page(request, scope, "overview", regions, board=board)


@require_safe
@login_required
def jobs(request: HttpRequest) -> HttpResponse:
    """The list of jobs, narrowed by a filter."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    board = Board(scope)
    asked = job_list.Asked.from_query(request.GET)

    def figures() -> Mapping[str, Any]:
        place = {name: request.GET.get(name, "") for name in ("before", "after")}
        found = job_list.JobPage() if asked.error else job_list.page(scope, asked.filter, **place)
        facets = asked.facets
        return {
            "page": found,
            "facets": [(one, facets[one], count) for one, count in board.by_status.items()],
            "all": facets[""],
        }

    return live_page(request, scope, "jobs", {"jobs": figures}, asked=asked, words=WORDS)


@require_safe
@login_required
def dead(request: HttpRequest) -> HttpResponse:
    """The dead letters, grouped by what went wrong, and the newest of them."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")

    def figures() -> Mapping[str, Any]:
        return {
            "groups": dead_letters.groups(scope),
            "rows": dead_letters.listed(scope),
            "listed": dead_letters.LISTED,
            "grouped": dead_letters.GROUPED,
        }

    return live_page(request, scope, "dead", {"dead": figures})


@require_safe
@login_required
def operation_list(request: HttpRequest) -> HttpResponse:
    """The bulk actions, newest first."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    regions = {"operations": lambda: {"rows": operations.listed(scope)}}
    return live_page(request, scope, "operations", regions)


@require_safe
@login_required
def operation(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """One bulk action and how far it came."""
    scope = scope_of(request)
    shown = bulk.found(scope, operation_id)
    of = [shown.tenant_id] if shown.tenant_id else scope.ids
    may_cancel = scope.operable.issuperset(of)
    regions = {"operation": lambda: {"operation": shown, "may_cancel": may_cancel}}
    return live_page(request, scope, "operation", regions)


@require_safe
@login_required
def worker_list(request: HttpRequest) -> HttpResponse:
    """The worker processes, for those who look after the machines."""
    scope = scope_of(request)
    if not scope.is_operator:
        raise Http404("Workers are shown to operators.")
    return live_page(request, scope, "workers", {"workers": lambda: {"rows": _workers()}})


def _workers() -> list[dict[str, Any]]:
    return [
        {"worker": worker, "now": worker.now, "state": workers.state_of(worker, worker.now)}  # type: ignore[attr-defined]
        for worker in workers.seen()
    ]


@require_safe
def favicon(_request: HttpRequest) -> HttpResponse:
    """Where browsers ask for the icon of a page that names none, such as the admin's."""
    return redirect(static("dashboard/favicon.svg"))
