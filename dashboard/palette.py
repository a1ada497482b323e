"""What the palette finds beyond the links of its page: jobs by id, queues, a filter of jobs.

Queues are paused and resumed from there, too: on a page that asks first.
"""

import uuid
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from dashboard.pages import never_cached
from dashboard.scope import PageScope, scope_of
from jobs.filters import spelled
from jobs.models import Lane

MOST_QUEUES = 4
MOST_CHARACTERS = 200
PAUSE, RESUME = "pause", "resume"
VERBS = {PAUSE, RESUME}


class Find(NamedTuple):
    """One thing that was found, and where it is."""

    label: str
    kind: str
    href: str


@require_safe
@login_required
def find(request: HttpRequest) -> HttpResponse:
    """What `?q=` may mean, as JSON: `{"found": [{"label", "kind", "href"}]}`."""
    text = request.GET.get("q", "").strip()[:MOST_CHARACTERS]
    found = [one._asdict() for one in _found(scope_of(request), text)] if text else []
    return never_cached(JsonResponse({"found": found}))


def _found(scope: PageScope, text: str) -> Iterator[Find]:
    yield from _job(scope, text)
    yield from _queues(scope, text)
    asked = {"filter": text} | ({"tenant": scope.chosen.slug} if scope.chosen else {})
    yield Find(f"Jobs that match {text}", "filter", f"{reverse('jobs')}?{urlencode(asked)}")


def _job(scope: PageScope, text: str) -> Iterator[Find]:
    """The job with that id, which a log may have written without hyphens."""
    try:
        job = scope.job(uuid.UUID(text))
    except (ValueError, Http404):
        return
    yield Find(f"{job.task} {job.pk}", job.status, reverse("job", args=[job.pk]))


def _queues(scope: PageScope, text: str) -> Iterator[Find]:
    """Queues by a part of their name, and what can be done to them, which may stand before it."""
    verb, _, rest = text.lower().partition(" ")
    is_asked = verb in VERBS and bool(rest)
    lanes = _named(scope, rest.strip() if is_asked else text)
    if is_asked:
        lanes = lanes.filter(tenant_id__in=scope.operable, is_paused=verb == RESUME)
    found = list(lanes.order_by("queue", "pk")[:MOST_QUEUES])
    if not is_asked:
        yield from (_jobs_of(scope, lane) for lane in found)
    yield from (_pause(scope, lane) for lane in found if lane.tenant_id in scope.operable)


def _named(scope: PageScope, text: str) -> QuerySet[Lane]:
    """The queues with the text in their name; `acme/mail` is about tenants, too."""
    owner, _, part = text.lower().rpartition("/")
    owners = [pk for pk in scope.ids if owner in scope.slugs[pk]]
    return Lane.objects.filter(tenant_id__in=owners, queue__icontains=part)


def _jobs_of(scope: PageScope, lane: Lane) -> Find:
    slug = scope.slugs[lane.tenant_id]
    asked = urlencode({"filter": spelled("queue", lane.queue), "tenant": slug})
    return Find(_name(scope, lane), "queue", f"{reverse('jobs')}?{asked}")


def _pause(scope: PageScope, lane: Lane) -> Find:
    verb = RESUME if lane.is_paused else PAUSE
    page = reverse(f"{verb}-queue", args=[scope.slugs[lane.tenant_id], lane.queue])
    return Find(f"{verb.capitalize()} {_name(scope, lane)}…", "action", page)


def _name(scope: PageScope, lane: Lane) -> str:
    return f"{scope.slugs[lane.tenant_id]}/{lane.queue}" if scope.names_tenants else lane.queue
