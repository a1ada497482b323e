"""A page is made of regions. `?partial=name,name` answers those regions alone, rendered by the same
templates, which is what the live feed and the polling fetch.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from dashboard.scope import PageScope

Regions = Mapping[str, Callable[[], Mapping[str, Any]]]
"""The figures of each region by its name, read only when they are asked for."""


def live_page(
    request: HttpRequest, scope: PageScope, template: str, regions: Regions, **extra: Any
) -> HttpResponse:
    """The page with all of its regions, or those that `?partial=` names."""
    context = _context(scope, template) | extra
    partial = request.GET.get("partial")
    if partial is None:
        context |= {name: figures() for name, figures in regions.items()}
        return never_cached(render(request, f"dashboard/{template}.html", context))
    fragments = [
        render_to_string(
            f"dashboard/partials/{name}.html", context | {name: regions[name]()}, request
        )
        for name in dict.fromkeys(partial.split(","))
        if name in regions
    ]
    return never_cached(HttpResponse("".join(fragments)))


def plain_page(
    request: HttpRequest, scope: PageScope, template: str, *, status: int = 200, **extra: Any
) -> HttpResponse:
    """A page that does not change while it is looked at."""
    context = _context(scope, template) | extra
    return never_cached(render(request, f"dashboard/{template}.html", context, status=status))


def _context(scope: PageScope, template: str) -> dict[str, Any]:
    live_tenant = scope.chosen.slug if scope.chosen else ""
    return {"scope": scope, "page_name": template, "live_tenant": live_tenant}


def never_cached(response: HttpResponse) -> HttpResponse:
    """The answer, which nobody on the way keeps: it is this user's."""
    add_never_cache_headers(response)
    return response


def next_page(request: HttpRequest, fallback: str) -> str:
    """The page that a link or a form named as `next`, if it is one of ours."""
    wanted = request.POST.get("next") or request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    return wanted if is_ours else fallback


def back(request: HttpRequest, fallback: str) -> HttpResponse:
    """To the page that is next: the whole page, also for a form in the midst of one."""
    there = next_page(request, fallback)
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(there)
    return HttpResponseRedirect(there)
