"""The pages: access, then a query, then a template. What changes something is in `actions`."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe
from django_ratelimit.decorators import ratelimit

from dashboard import bulk
from dashboard.pages import live_page, plain_page
from dashboard.queries import dead_letters, operations
from dashboard.scope import scope_of
from jobs.callers import counted_address

LOGINS_PER_MINUTE, LOGINS_OF_A_NAME = 60, 10
"""From one address, which may be that of an office: of all its people, and of one."""


def _who_tries(group: str, request: HttpRequest) -> str:
    return f"{counted_address(request)} {request.POST.get('username', '')[:150]}"


def _at_most(key: Any, times: int) -> Any:
    return method_decorator(
        ratelimit(key=key, rate=f"{times}/m", method="POST", block=False), name="post"
    )


@_at_most(_who_tries, LOGINS_OF_A_NAME)
@_at_most("ip", LOGINS_PER_MINUTE)
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
    regions = {"operation": lambda: {"operation": shown, "may_cancel": may_cancel}}
    return live_page(request, scope, "operation", regions)


@require_safe
def favicon(_request: HttpRequest) -> HttpResponse:
    """Where browsers ask for the icon of a page that names none, such as the admin's."""
    return redirect(static("dashboard/favicon.svg"))
