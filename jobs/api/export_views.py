"""Jobs as a file, sent while it is made."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.utils import timezone
from rest_framework.request import Request

from jobs.api.schema import FORM, described, filter_parameters
from jobs.api.view import AnyAnswer, TenantView
from jobs.errors import InvalidInput
from jobs.exports import Form, chunks
from jobs.job_filters import JOB_FILTERS, all_of
from jobs.job_search import Search
from jobs.keys import Scope

MEDIA_TYPES = {Form.CSV: "text/csv; charset=utf-8", Form.JSON_LINES: "application/x-ndjson"}


def _form(value: str) -> Form:
    try:
        return Form(value)
    except ValueError:
        raise InvalidInput(f"is one of {', '.join(Form)}.", code="invalid_choice") from None


class ExportJobs(TenantView):
    """`/jobs/export`"""

    scopes = {"GET": Scope.READ}
    query = None
    content_negotiation_class = AnyAnswer

    @described(
        "export_jobs",
        "All jobs that match, as a file",
        answers={200: {"type": "string"}},
        media_types=("text/csv", "application/x-ndjson"),
        parameters=[*filter_parameters(JOB_FILTERS), FORM],
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Newest first, as CSV or as a JSON object a line, sent while it is made.

        In CSV a text that a spreadsheet would take for a formula has an apostrophe before it. A
        file that could not be finished ends without the end of its transfer.
        """
        given = self.read_query({**JOB_FILTERS, "format": _form})
        form = given.pop("format", Form.CSV)
        pieces = chunks(Search(self.tenant, self.allowed & all_of(given)), form)
        name = f"jobs-{self.tenant.slug}-{timezone.now():%Y%m%dT%H%M%SZ}.{form}"
        return StreamingHttpResponse(
            _awaited(pieces) if isinstance(request._request, ASGIRequest) else pieces,
            content_type=MEDIA_TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


async def _awaited(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same, without occupying the event loop; Django would otherwise collect all of it."""
    following: Any = sync_to_async(next)
    while (piece := await following(pieces, None)) is not None:
        yield piece
