"""The queues: listed, paused with a reason, resumed, and their limits changed.

A form is asked for by the script of the page as a row of the table, and without it as a page.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.limits import LimitsForm
from dashboard.pages import back, live_page, never_cached, next_page, plain_page
from dashboard.queries import lanes
from dashboard.queries.counts import total
from dashboard.scope import PageScope, scope_of
from jobs import services
from jobs.access import actor_of
from jobs.models import Lane
from jobs.models.tenants import MAX_REASON
from jobs.store.depths import lanes_with_counts


class PauseForm(forms.Form):
    """Why a queue is paused."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        label="Why?",
        widget=forms.TextInput(
            attrs={"autofocus": True, "placeholder": "Everybody who sees the queue reads it"}
        ),
    )
    label_suffix = ""


@require_safe
@login_required
def queue_list(request: HttpRequest) -> HttpResponse:
    """The queues with what waits and runs in them, their limits and their workers."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    asked = lanes.Asked.from_query(request.GET)
    regions = {"queue_list": lambda: lanes.listed(scope, asked)}
    return live_page(request, scope, "queues", regions, asked=asked, states=lanes.STATES)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def pause(request: HttpRequest, slug: str, queue: str) -> HttpResponse:
    """Ask why, and let no more jobs of the queue start."""
    scope = scope_of(request)
    lane = _lane(scope, slug, queue)
    scope.require_operable([lane.tenant_id])
    form = PauseForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        services.set_queue_paused(
            lane.tenant, queue, paused=True, actor=actor_of(request), reason=reason
        )
        messages.success(request, f"{slug}/{queue} is paused; running jobs go on.")
        return back(request, reverse("queues"))
    return _form(request, scope, lane, form, verb="pause")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def resume(request: HttpRequest, slug: str, queue: str) -> HttpResponse:
    """Ask whether it is meant, with what waits; let jobs of the queue start again."""
    scope = scope_of(request)
    lane = _lane(scope, slug, queue)
    scope.require_operable([lane.tenant_id])
    if request.method != "POST":
        return _ask_to_resume(request, scope, lane)
    services.set_queue_paused(lane.tenant, queue, paused=False, actor=actor_of(request))
    messages.success(request, f"{slug}/{queue} is resumed.")
    return back(request, reverse("queues"))


def _ask_to_resume(request: HttpRequest, scope: PageScope, lane: Lane) -> HttpResponse:
    (counted,) = lanes_with_counts(Lane.objects.filter(pk=lane.pk))
    waiting = total([counted.waiting])
    there = next_page(request, reverse("queues"))
    asked: dict[str, Any] = {
        "question": f"Resume {lane.tenant.slug}/{lane.queue}? {waiting} of its jobs wait.",
        "verb": "resume",
        "style": "primary",
        "back": there,
        "fields": [("next", there)],
    }
    return plain_page(request, scope, "confirm", **asked)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def limits(request: HttpRequest, slug: str, queue: str) -> HttpResponse:
    """Change the limits and the weight of a queue."""
    scope = scope_of(request)
    lane = _lane(scope, slug, queue)
    scope.require_administrable(lane.tenant)
    given = request.POST if request.method == "POST" else None
    form = LimitsForm(lane, given, by_tenant=not scope.is_operator)
    if form.is_valid() and form.apply(actor_of(request)):
        messages.success(request, f"The limits of {slug}/{queue} are in force.")
        return back(request, reverse("queues"))
    return _form(request, scope, lane, form, verb="save")


def _lane(scope: PageScope, slug: str, queue: str) -> Lane:
    found = Lane.objects.select_related("tenant").filter(tenant=scope.tenant(slug), queue=queue)
    lane = found.first()
    if lane is None:
        raise Http404("There is no such queue.")
    return lane


def _form(
    request: HttpRequest, scope: PageScope, lane: Lane, form: forms.Form, *, verb: str
) -> HttpResponse:
    context = {
        "form": form,
        "lane": lane,
        "slug": lane.tenant.slug,
        "verb": verb,
        "next": next_page(request, reverse("queues")),
    }
    if request.htmx:  # type: ignore[attr-defined]
        return never_cached(render(request, "dashboard/lane_form_row.html", context))
    status = 400 if form.errors else 200
    return plain_page(request, scope, "lane_form", status=status, **context)
