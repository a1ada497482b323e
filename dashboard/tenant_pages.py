"""The tenants: their shares, limits and use, who is noisy, their people; suspended and resumed."""

from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.limits import LimitsForm
from dashboard.pages import back, live_page, next_page, plain_page
from dashboard.queries import tenants
from dashboard.scope import PageScope, scope_of
from jobs import services
from jobs.access import actor_of
from jobs.errors import StatusConflict
from jobs.members import change_membership, remove_member
from jobs.models import Membership, Role, Tenant
from jobs.store.clock import now
from jobs.usage import Step, usage


class MemberForm(forms.Form):
    """What a member may do."""

    role = forms.ChoiceField(choices=Role.choices)
    sees_payloads = forms.BooleanField(required=False)


@require_safe
@login_required
def tenant_list(request: HttpRequest) -> HttpResponse:
    """The tenants that the user sees: all of them for those who look after the installation."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    asked = {
        "name": request.GET.get("name", "").strip(),
        "state": _known(request.GET.get("state", ""), tenants.STATES, ""),
        "sort": _known(request.GET.get("sort", ""), tenants.SORTS, "tenant"),
        "page": request.GET.get("page", ""),
    }
    regions = {"tenant_list": lambda: _listed(scope, **asked)}
    return live_page(request, scope, "tenants", regions, asked=asked, states=tenants.STATES)


def _known(word: str, words: Collection[str], otherwise: str) -> str:
    return word if word in words else otherwise


def _listed(scope: PageScope, **asked: str) -> dict[str, Any]:
    shown, page = tenants.listed(scope, **asked)
    at = now()
    ids = [row.tenant.pk for row in shown]
    today, month = tenants.used(ids, at), tenants.used(ids, at, days=tenants.MONTH_DAYS)
    rows = [(row, today[row.tenant.pk], month[row.tenant.pk]) for row in shown]
    return {"rows": rows, "page": page, "total": len(scope.shown)}


@require_safe
@login_required
def tenant(request: HttpRequest, slug: str) -> HttpResponse:
    """One tenant with its share, its limits, its use by days, and its people."""
    scope = scope_of(request).narrowed_to(slug)
    return live_page(request, scope, "tenant", {"tenant": lambda: _figures(scope)})


def _figures(scope: PageScope) -> dict[str, Any]:
    row = tenants.row_of(scope.shown[0])
    used = usage(row.tenant, Step.DAY)
    return {
        "row": row,
        "limits": tenants.limits_of(row),
        "days": used.steps[::-1],
        "month": used.total,
        "now": now(),
        "members": row.tenant.memberships.select_related("user").order_by("user__username"),
        "roles": Role.choices,
        "may_administer": row.tenant.pk in scope.administrable,
        "may_give_payloads": row.tenant.pk in scope.readable,
    }


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def limits(request: HttpRequest, slug: str) -> HttpResponse:
    """Change the limits of a tenant; its share of the workers too, for who looks after them."""
    scope = scope_of(request)
    limited = scope.tenant(slug)
    scope.require_administrable(limited)
    given = request.POST if request.method == "POST" else None
    form = LimitsForm(limited, given, by_tenant=not scope.is_operator)
    if form.is_valid() and form.apply(actor_of(request)):
        messages.success(request, f"The limits of {slug} are in force.")
        return back(request, reverse("tenant", args=[slug]))
    status = 400 if form.errors else 200
    there = next_page(request, reverse("tenant", args=[slug]))
    return plain_page(
        request, scope, "tenant_limits", status=status, form=form, slug=slug, next=there
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def set_suspended(request: HttpRequest, slug: str, action: str) -> HttpResponse:
    """Ask whether it is meant, with what waits and runs; suspend the tenant, or resume it."""
    scope = scope_of(request).narrowed_to(slug)
    found = scope.tenant(slug)
    if not scope.is_operator:
        raise PermissionDenied("Tenants are suspended by who looks after the installation.")
    scope.require_administrable(found)
    is_active = action == "resume"
    if request.method == "POST":
        if found.is_active != is_active:
            services.change_limits(found, actor=actor_of(request), is_active=is_active)
        messages.success(request, f"{slug} is {'active' if is_active else 'suspended'}.")
        return back(request, reverse("tenant", args=[slug]))
    row = tenants.row_of(found)
    there = next_page(request, reverse("tenant", args=[slug]))
    return plain_page(request, scope, "suspend_tenant", row=row, action=action, next=there)


@require_http_methods(["POST"])
@login_required
def member(request: HttpRequest, slug: str, user_id: str) -> HttpResponse:
    """Change what a member may do."""
    scope = scope_of(request)
    membership = _member(request, scope, slug, user_id)
    form = MemberForm(request.POST)
    if not form.is_valid():
        messages.error(request, "There is no such role.")
    elif form.cleaned_data["sees_payloads"] > membership.sees_payloads and not _may_read(
        scope, membership
    ):
        messages.error(request, "Who may not see payloads cannot let others see them.")
    else:
        wanted = form.cleaned_data | {"may_leave_none": scope.is_operator}
        try:
            change_membership(membership, actor=actor_of(request), **wanted)
            messages.success(request, f"{membership.user.get_username()} is {membership.role} now.")
        except StatusConflict as error:
            messages.error(request, error.detail)
    return redirect("tenant", slug)


def _may_read(scope: PageScope, membership: Membership) -> bool:
    return membership.tenant_id in scope.readable


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def remove(request: HttpRequest, slug: str, user_id: str) -> HttpResponse:
    """Ask whether it is meant, and let a member see the tenant no more."""
    scope = scope_of(request)
    membership = _member(request, scope, slug, user_id)
    if request.method == "POST":
        may = {"may_leave_none": scope.is_operator}
        try:
            remove_member(membership, actor=actor_of(request), **may)
            messages.success(request, f"{membership.user.get_username()} sees {slug} no more.")
        except StatusConflict as error:
            messages.error(request, error.detail)
        return redirect("tenant", slug)
    return plain_page(request, scope, "remove_member", membership=membership, slug=slug)


def _member(request: HttpRequest, scope: PageScope, slug: str, user_id: str) -> Membership:
    """Somebody else's place in the tenant: who administers it stays its admin."""
    found: Tenant = scope.tenant(slug)
    scope.require_administrable(found)
    membership = found.memberships.select_related("user").filter(user_id=user_id).first()
    if membership is None:
        raise Http404("There is no such member.")
    if membership.user == request.user:
        raise PermissionDenied("Your own role is changed by another admin.")
    return membership
