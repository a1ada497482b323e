"""The pages: access, then a query, then a template. What changes something is in `actions`."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from dashboard import bulk
from dashboard.pages import live_page, plain_page
from dashboard.queries import dead_letters, operations
from dashboard.scope import scope_of
from jobs.callers import counted_address
from jobs.shared_cache import seconds_to_wait

LOGINS_PER_MINUTE, LOGINS_OF_A_NAME = 60, 10
"""From one address, which may be that of an office: of all its people, and of one."""


def _who_tries(group: str, request: HttpRequest) -> str:
    return f"{counted_address(request)} {request.POST.get('username', '')[:150]}"


def _tried_too_often(request: HttpRequest) -> bool:
    """Whether to refuse this attempt, which is counted of its address and of the name there."""
    of_all = seconds_to_wait(request, "logins", "ip", LOGINS_PER_MINUTE)
    of_one = seconds_to_wait(request, "logins of a name", _who_tries, LOGINS_OF_A_NAME)
    return max(of_all, of_one) > 0


class Login(LoginView):
    """The login page. An address that tries too often is told to wait."""

    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Log in, unless this address has tried too often in the last minute."""
        if _tried_too_often(request):
            context = {"form": self.get_form_class()(request), "is_limited": True}
            return self.render_to_response(self.get_context_data(**context), status=429)
        return super().post(request, *args, **kwargs)


@require_safe
@login_required
def dead(request: HttpRequest) -> HttpResponse:
    """The dead letters, grouped by what went wrong, and the newest of them."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")

    def figures() -> Mapping[str, Any]:
        newest = dead_letters.newest(scope)
        return {
            "groups": dead_letters.groups(scope, newest),
            "rows": dead_letters.listed(newest),
            "listed": dead_letters.LISTED,
        }

    return live_page(request, scope, "dead", {"dead": figures})


@require_safe
@login_required
def operation_list(request: HttpRequest) -> HttpResponse:
    """The bulk actions, newest first."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    listed = operations.LISTED
    regions = {"operations": lambda: {"rows": operations.listed(scope), "listed": listed}}
    return live_page(request, scope, "operations", regions)


@require_safe
@login_required
def operation(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """One bulk action and how far it came."""
    scope = scope_of(request)
    shown = operations.shown(scope, bulk.found(scope, operation_id))
    of = [shown.tenant_id] if shown.tenant_id else scope.ids
    may_cancel = scope.operable.issuperset(of)
    rest = bulk.address_of_rest(scope, shown) if may_cancel else ""
    figures = {"operation": shown, "may_cancel": may_cancel, "rest": rest}
    regions = {"operation": lambda: figures}
    return live_page(request, scope, "operation", regions)


@require_safe
def favicon(_request: HttpRequest) -> HttpResponse:
    """Where browsers ask for the icon of a page that names none, such as the admin's."""
    return redirect(static("dashboard/favicon.svg"))
