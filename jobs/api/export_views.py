"""Jobs as a file, sent while it is made."""

from collections.abc import Generator

from django.utils import timezone
from rest_framework.request import Request

from jobs.api.schema import FORM, described, filter_parameters
from jobs.api.view import AnyAnswer, TenantView
from jobs.errors import InvalidInput, KeyEnded
from jobs.exports import MEDIA_TYPES, Form, chunks
from jobs.job_filters import JOB_FILTERS, all_of
from jobs.job_search import Search
from jobs.keys import Scope, valid_keys
from jobs.models import ApiKey
from jobs.sending import File


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
        problems=("too_many_exports",),
    )
    def get(self, request: Request) -> File:
        """Newest first, as CSV or as a JSON object a line, sent while it is made.

        In CSV a text that a spreadsheet would take for a formula has an apostrophe before it. A
        file that could not be finished, as when the key is revoked meanwhile, ends without the end
        of its transfer. A server process sends few files at a time, and two at most to a tenant.
        """
        given = self.read_query({**JOB_FILTERS, "format": _form})
        form = given.pop("format", Form.CSV)
        search = Search(self.tenant, self.allowed & all_of(given))
        pieces = _while_valid(self.key, chunks(search, form))
        name = f"jobs-{self.tenant.slug}-{timezone.now():%Y%m%dT%H%M%SZ}.{form}"
        return File(
            request._request,
            pieces,
            whose=self.tenant.pk,
            content_type=MEDIA_TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _while_valid(key: ApiKey, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    """The pieces that were made while the key was valid. Raises `KeyEnded` at the first other."""
    for piece in pieces:
        if not valid_keys(key.tenant).filter(pk=key.pk).exists():
            raise KeyEnded("The key was revoked, or it expired, before the export came to its end.")
        yield piece
