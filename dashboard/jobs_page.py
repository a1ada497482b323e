"""The list of jobs: what it shows, what its filter box offers, and what is done to chosen rows."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from dashboard.pages import back, live_page, never_cached, next_page, plain_page
from dashboard.queries import job_list
from dashboard.queries.board import Board
from dashboard.queries.filter_values import values_of
from dashboard.saved_views import shown_views
from dashboard.scope import PageScope, scope_of
from dashboard.templatetags.dashboard import id_start
from jobs import access, page_exports, services
from jobs.errors import JobQueueError
from jobs.exports import Form
from jobs.filters import MAX_CHARACTERS, WORDS
from jobs.models import Job
from jobs.statuses import ACTED_ON, BulkAction, Status

MAX_CHOSEN = 200
MAX_NAMED = 5
NOBODYS = uuid.UUID(int=0)
QUESTIONS = {
    BulkAction.CANCEL: "Cancel {}? What waits will not run; what runs is stopped by its worker.",
    BulkAction.DISCARD: "Discard {}? They and their attempts are deleted for good.",
}
PAST = {
    BulkAction.CANCEL: "cancelled, or their workers asked to stop them",
    BulkAction.RETRY: "ready to run again",
    BulkAction.REDRIVE: "sent back",
    BulkAction.DISCARD: "discarded",
}


@require_safe
@login_required
def jobs(request: HttpRequest) -> HttpResponse:
    """The list of jobs, narrowed by a filter."""
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    board = Board(scope)
    asked = job_list.Asked.from_query(scope, request.GET)

    def figures() -> Mapping[str, Any]:
        place = {name: request.GET.get(name, "") for name in ("before", "after")}
        until = time.monotonic() + job_list.SEARCHING_SECONDS
        found = job_list.JobPage() if asked.error else job_list.page(scope, asked.filter, **place)
        within = job_list.counted(scope, asked.rest, until=until) if asked.rest else None
        counts = within or board.by_status
        facets = asked.facets
        return {
            "page": found,
            "facets": [(one, facets[one], counts[one]) for one in Status],
            "is_within": within is not None,
            "is_counted": None not in counts.values(),
            "all": facets[""],
            "views": list(shown_views(scope, asked.text)),
        }

    extra = {
        "asked": asked,
        "words": WORDS,
        "most_characters": MAX_CHARACTERS,
        "actions": [(action, " ".join(sorted(ACTED_ON[action]))) for action in BulkAction],
    }
    return live_page(request, scope, "jobs", {"jobs": figures}, **extra)


@require_POST
@login_required
def export(request: HttpRequest) -> HttpResponseBase:
    """All jobs that match the filter, of one tenant or of all, as a file."""
    scope = scope_of(request)
    if not scope.tenants or not scope.is_readable:
        raise PermissionDenied("This needs the right to read payloads.")
    asked = job_list.Asked.from_query(scope, request.GET)
    form = request.POST.get("format", "")
    if asked.error or form not in set(Form):
        raise BadRequest(asked.error or f"The format is one of {', '.join(Form)}.")
    if len(scope.searched) > 1:
        raise BadRequest("Choose the tenant whose jobs are wanted.")
    (tenant,) = scope.searched
    return page_exports.export(request, "jobs", tenant, asked.filter, asked.text, Form(form))


@require_safe
@login_required
def filter_values(request: HttpRequest) -> HttpResponse:
    """What may follow `?word=` and has `?start=` in it, as JSON: `{"values": [...]}`."""
    word, start = (request.GET.get(name, "") for name in ("word", "start"))
    return never_cached(JsonResponse({"values": values_of(scope_of(request), word, start)}))


@require_POST
@login_required
def act_on_chosen(request: HttpRequest) -> HttpResponse:
    """Do one thing to the chosen jobs and tell what became of each; ask first where it is grave."""
    scope = scope_of(request)
    action, chosen = _read(request.POST)
    seen = access.jobs_of_user(request.user).filter(pk__in=chosen).defer("payload", "result")
    found = list(seen.select_related("tenant"))
    scope.require_operable({job.tenant_id for job in found})
    if found and action in QUESTIONS and "sure" not in request.POST:
        return _ask(request, scope, action, found)
    _tell(request, action, _act(action, found, access.actor_of(request)), len(chosen) - len(found))
    return back(request, reverse("jobs"))


def _ask(
    request: HttpRequest, scope: PageScope, action: BulkAction, found: Sequence[Job]
) -> HttpResponse:
    ids = [job.pk for job in found]
    there = next_page(request, reverse("jobs"))
    chosen = [("action", action), ("next", there), ("sure", "yes"), *(("id", pk) for pk in ids)]
    what = f"{len(found)} job{'' if len(found) == 1 else 's'}"
    asked: dict[str, Any] = {"question": QUESTIONS[action].format(what), "back": there}
    asked |= {"verb": f"{action} {len(found)}", "rows": job_list.rows_of(scope, ids)}
    return plain_page(request, scope, "confirm", fields=chosen, **asked)


def _read(given: QueryDict) -> tuple[BulkAction, set[uuid.UUID]]:
    """What to do with which jobs; what is no id is the id of no job. Raises `BadRequest`."""
    ids, action = given.getlist("id"), given.get("action", "")
    if action not in set(BulkAction) or not 1 <= len(ids) <= MAX_CHOSEN:
        raise BadRequest(f"Choose 1 to {MAX_CHOSEN} jobs and what to do with them.")
    return BulkAction(action), {_as_id(one) for one in ids}


def _as_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        return NOBODYS


def _redrive(job: Job, actor: str) -> object:
    return services.redrive([job.pk], actor=actor, tenant=job.tenant)


def _discard(job: Job, actor: str) -> object:
    return services.discard([job.pk], actor=actor, tenant=job.tenant)


_ACTS: Mapping[BulkAction, Callable[[Job, str], object]] = {
    BulkAction.CANCEL: lambda job, actor: services.cancel(job, actor=actor),
    BulkAction.RETRY: lambda job, actor: services.retry(job, actor=actor, may_redrive=False),
    BulkAction.REDRIVE: _redrive,
    BulkAction.DISCARD: _discard,
}


def _act(action: BulkAction, found: Sequence[Job], actor: str) -> Mapping[str, Sequence[Job]]:
    """Act on one after the other; answers them by why they were refused, empty for the done."""
    fates: dict[str, list[Job]] = defaultdict(list)
    for job in found:
        try:
            done = _ACTS[action](job, actor)
            refusal = "" if done else f"A job that is {job.status} is no dead letter."
        except JobQueueError as error:
            refusal = error.detail
        fates[refusal].append(job)
    return fates


def _tell(
    request: HttpRequest, action: BulkAction, fates: Mapping[str, Sequence[Job]], missing: int
) -> None:
    for refusal, its in fates.items():
        which = ", ".join(id_start(job.pk) for job in its[:MAX_NAMED])
        more = f" and {len(its) - MAX_NAMED} more" if len(its) > MAX_NAMED else ""
        if refusal:
            messages.error(request, f"{len(its)} refused: {refusal} ({which}{more})")
        else:
            messages.success(request, f"{len(its)} {PAST[action]}.")
    if missing:
        messages.error(request, f"{missing} refused: There is no such job.")
