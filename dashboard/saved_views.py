"""Saved views on the list of jobs: shown as links, kept and forgotten by forms."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.pages import plain_page
from dashboard.scope import PageScope, scope_of
from jobs.errors import InvalidInput
from jobs.filters import parse
from jobs.job_filters import searches_messages
from jobs.models import SavedView
from jobs.saved_views import delete_view, save_view, visible_views


class Shown(NamedTuple):
    """A saved view as a link; `whose` names the user who shares it, empty for the viewer's own.

    `is_namesake`: another one that is shown has its name.
    """

    view: SavedView
    href: str
    whose: str
    is_current: bool
    is_namesake: bool


def shown_views(scope: PageScope, filter_text: str) -> Iterator[Shown]:
    """The views that belong on the page, by name: on that of a tenant, none of other tenants."""
    views = [
        view
        for view in visible_views(scope.user, scope.tenants).select_related("user")
        if (scope.chosen is None or view.tenant_id in {None, scope.chosen.pk})
        and (view.user_id == scope.user.pk or _may_know(scope, view))
    ]
    names = Counter(view.name for view in views)
    for view in views:
        whose = "" if view.user_id == scope.user.pk else str(view.user)
        is_current = view.filter == filter_text and view.tenant == scope.chosen
        yield Shown(view, address_of(view), whose, is_current, names[view.name] > 1)


def _may_know(scope: PageScope, view: SavedView) -> bool:
    """Whether it says nothing of what errors say that the user may not know."""
    try:
        return scope.reads(view.tenant_id) or not searches_messages(parse(view.filter))
    except InvalidInput:  # it was kept when more could be read
        return False


def address_of(view: SavedView) -> str:
    """Where the view leads."""
    asked = {"filter": view.filter} | ({"tenant": view.tenant.slug} if view.tenant else {})
    return f"{reverse('jobs')}?{urlencode(asked, safe=':')}"


@require_POST
@login_required
def save(request: HttpRequest) -> HttpResponse:
    """Keep the filter under a name; the view is of the tenant that the page is narrowed to."""
    scope = scope_of(request)
    name, text = (request.POST.get(field, "").strip() for field in ("name", "filter"))
    shared = "shared" in request.POST
    try:
        view = save_view(scope.user, scope.chosen, name, text, is_shared=shared)
    except InvalidInput as error:
        messages.error(request, error.detail)
        kept = {"filter": text} | ({"tenant": scope.chosen.slug} if scope.chosen else {})
        return redirect(f"{reverse('jobs')}?{urlencode(kept, safe=':')}")
    messages.success(request, f"Saved as “{view.name}”.")
    return redirect(address_of(view))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: HttpRequest, view_id: str) -> HttpResponse:
    """Forget a view of the user's own, after a question."""
    view = get_object_or_404(SavedView, pk=view_id, user=request.user.pk)
    if request.method != "POST":
        question = f"Delete the view “{view.name}”? Its filter itself goes on working."
        asked: dict[str, Any] = {"question": question, "verb": "delete", "back": address_of(view)}
        return plain_page(request, scope_of(request), "confirm", **asked)
    delete_view(view)
    messages.success(request, "Deleted.")
    return redirect(address_of(view))
