"""What the palette finds beyond the links of its page: jobs by id, queues, and a filter of jobs."""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from dashboard.pages import never_cached
from dashboard.scope import Scope, scope_of
from jobs.filters import spelled
from jobs.models import Lane

MOST_QUEUES = 6
MOST_CHARACTERS = 200


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


def _found(scope: Scope, text: str) -> Iterator[Find]:
    yield from _job(scope, text)
    yield from _queues(scope, text)
    asked = {"filter": text} | ({"tenant": scope.chosen.slug} if scope.chosen else {})
    yield Find(f"Jobs that match {text}", "filter", f"{reverse('jobs')}?{urlencode(asked)}")


def _job(scope: Scope, text: str) -> Iterator[Find]:
    try:
        job = scope.job(text)
    except Http404:
        return
    yield Find(f"{job.task} {job.pk}", job.status, reverse("job", args=[job.pk]))


def _queues(scope: Scope, text: str) -> Iterator[Find]:
    lanes = Lane.objects.filter(tenant_id__in=scope.ids, queue__icontains=text)
    for lane in lanes.order_by("queue", "pk")[:MOST_QUEUES]:
        slug = scope.slugs[lane.tenant_id]
        asked = urlencode({"filter": spelled("queue", lane.queue), "tenant": slug})
        name = f"{slug}/{lane.queue}" if scope.names_tenants else lane.queue
        yield Find(name, "queue", f"{reverse('jobs')}?{asked}")
