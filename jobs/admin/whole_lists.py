"""What is done to all dead letters of a list or a group, however many: asked about and begun on the
dashboard, as an operation with a pace and an entry in the audit log; or sent as a file."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from jobs import page_exports
from jobs.dead_letter_groups import Group
from jobs.errors import InvalidInput
from jobs.exports import Form
from jobs.filters import spelled
from jobs.job_filters import written
from jobs.models import Tenant
from jobs.statuses import BulkAction

WORDS = {"queue": "queue", "task": "task", "error": "error_type"}
"""The parameters of the list, and their words in a filter."""
UNSAYABLE = {"reason", "q"}
"""Those that no filter can say: a list that is narrowed by them is acted on row by row."""


class WholeList(NamedTuple):
    """Where what matches is listed, redriven, discarded and exported."""

    listed: str
    redrive: str
    discard: str
    export: str


def whole_list(parameters: Mapping[str, Any], group: Group | None = None) -> WholeList | None:
    """The addresses for the list with these parameters, or for a group of it.

    None if no filter can say them.
    """
    given = {name: value for name, value in parameters.items() if value}
    if given.keys() & UNSAYABLE:
        return None
    terms = [spelled(word, given[name]) for name, word in WORDS.items() if name in given]
    asked = {"filter": " ".join([group.filter if group else "status:DLQ", *terms])}
    if tenant := given.get("tenant"):
        asked["tenant"] = tenant
    operations = reverse("start-operation")
    return WholeList(
        listed=f"{reverse('jobs')}?{urlencode(asked)}",
        redrive=f"{operations}?{urlencode({'action': BulkAction.REDRIVE.value, **asked})}",
        discard=f"{operations}?{urlencode({'action': BulkAction.DISCARD.value, **asked})}",
        export=f"{reverse('admin:jobs_deadletter_export')}?{urlencode(asked)}",
    )


def export(request: HttpRequest) -> HttpResponseBase:
    """All that match `?filter=`, of `?tenant=` or of all, as CSV: for who may read payloads."""
    if not request.user.has_perms(["jobs.view_job", "jobs.view_payload"]):
        raise PermissionDenied
    slug = request.GET.get("tenant", "")
    tenant = Tenant.objects.filter(slug=slug).first()
    if slug and tenant is None:
        raise Http404("There is no such tenant.")
    text = request.GET.get("filter", "status:DLQ")
    try:
        wanted = written(text)
    except InvalidInput as error:
        raise BadRequest(f"The filter {error.detail}") from error
    return page_exports.export(request, "dead-letters", tenant, wanted, text, Form.CSV)
