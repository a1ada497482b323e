"""The keys of tenants: listed, made, rotated, revoked, through the functions that REST uses.

The text of a key is in the one answer that makes it, which is never cached, and nowhere else.
"""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.key_forms import ONLY_SUBMIT, KeyForm, RotationForm
from dashboard.pages import live_page, plain_page
from dashboard.queries.rows import page_of
from dashboard.scope import PageScope, scope_of
from jobs.access import actor_of
from jobs.errors import JobQueueError
from jobs.keys import (
    are_valid,
    create_api_key,
    end_of_successor,
    key_state,
    reads_payloads,
    revoke_api_key,
    rotate_api_key,
)
from jobs.models import ApiKey


@require_safe
@login_required
def keys(request: HttpRequest) -> HttpResponse:
    """The keys of the tenants that the user administers, newest first; those that work, or all."""
    scope = _scope(request)
    shows_all = request.GET.get("state") == "all"
    shown = _keys(scope).filter(tenant_id__in=scope.ids)
    found = page_of(
        shown if shows_all else shown.filter(are_valid()),
        request.GET.get("before", ""),
    )
    rows = [(key, key_state(key), _may_have_text(scope, key)) for key in found.rows]
    regions = {"apikeys": lambda: {"rows": rows, "page": found, "shows_all": shows_all}}
    return live_page(request, scope, "keys", regions)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@sensitive_variables("text")
def new_key(request: HttpRequest) -> HttpResponse:
    """The form that makes a key; its answer shows the key, this once."""
    scope = _scope(request)
    form = KeyForm(scope, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            key, text = create_api_key(form.tenant_of_key(), **form.wanted, actor=actor_of(request))
        except JobQueueError as error:
            form.add_error(None, error.detail)
        else:
            return _show_once(request, scope, key, text)
    status = 400 if form.errors else 200
    return plain_page(request, scope, "new_key", status=status, form=form)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@sensitive_variables("text")
def rotate_key(request: HttpRequest, prefix: str) -> HttpResponse:
    """Ask how long the old key is to go on; make the new one, and show it this once."""
    scope = _scope(request)
    old = _find(scope, prefix)
    if not _may_have_text(scope, old):
        raise PermissionDenied(ONLY_SUBMIT)
    form = RotationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        overlap = timedelta(seconds=form.cleaned_data["overlap"])
        ends = end_of_successor(old)
        try:
            key, text = rotate_api_key(
                old, overlap=overlap, expires_at=ends, actor=actor_of(request)
            )
        except JobQueueError as error:
            form.add_error(None, error.detail)
        else:
            old.refresh_from_db()
            return _show_once(request, scope, key, text, old=old)
    status = 400 if form.errors else 200
    return plain_page(request, scope, "rotate_key", status=status, form=form, key=old)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def revoke_key(request: HttpRequest, prefix: str) -> HttpResponse:
    """Ask whether it is meant; make the key useless if so."""
    scope = _scope(request)
    key = _find(scope, prefix)
    if request.method == "POST":
        revoke_api_key(key, actor=actor_of(request))
        messages.success(request, f"{key} is revoked; requests with it are refused.")
        return redirect("keys")
    return plain_page(request, scope, "revoke_key", key=key)


def _scope(request: HttpRequest) -> PageScope:
    """The scope of a user who administers one of its tenants at least."""
    scope = scope_of(request)
    if not scope.administrable:
        raise PermissionDenied("This needs the role of an admin.")
    if scope.chosen:
        scope.require_administrable(scope.chosen)
    return scope


def _keys(scope: PageScope) -> QuerySet[ApiKey]:
    own = ApiKey.objects.filter(tenant_id__in=scope.administrable)
    return own.select_related("tenant").annotate(now=Now())


def _find(scope: PageScope, prefix: str) -> ApiKey:
    """A key of a tenant that the user administers, or a 404."""
    key = _keys(scope).filter(prefix=prefix).first()
    if key is None:
        raise Http404("There is no such key.")
    return key


def _may_have_text(scope: PageScope, key: ApiKey) -> bool:
    """Whether the user may read whatever somebody reads who has such a key."""
    return key.tenant_id in scope.readable or not reads_payloads(key.scopes)


@sensitive_variables("text")
def _show_once(
    request: HttpRequest, scope: PageScope, key: ApiKey, text: str, **context: Any
) -> HttpResponse:
    return plain_page(request, scope, "key_made", key=key, text=text, **context)
