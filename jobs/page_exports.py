"""What people take from pages: all jobs that match a filter as a file, and a word on record."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from jobs.access import actor_of
from jobs.audit import audit
from jobs.errors import TooManyExports
from jobs.exports import MEDIA_TYPES, Form, chunks
from jobs.filters import Filter
from jobs.job_search import Search
from jobs.models import Tenant
from jobs.sending import File


def export(
    request: HttpRequest, what: str, tenant: Tenant | None, wanted: Filter, text: str, form: Form
) -> HttpResponseBase:
    """The file of what matches, of one tenant or of all: for who may read payloads.

    `text` is the filter as the audit log tells it, `what` begins the file's name. Who took it away
    is in the audit log; a HEAD takes nothing.
    """
    name = f"{what}-{tenant.slug if tenant else 'all'}-{timezone.now():%Y%m%dT%H%M%SZ}.{form}"
    try:
        file = File(
            request,
            chunks(Search(tenant, wanted), form),
            whose=f"user {request.user.pk}",
            content_type=MEDIA_TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    except TooManyExports as error:
        waits = {"Retry-After": str(error.retry_after)}
        return HttpResponse(error.detail, "text/plain; charset=utf-8", error.status, headers=waits)
    if request.method != "HEAD":
        audit(actor_of(request), "export", tenant.pk if tenant else None, name, filter=text)
    return file
