"""What every view of the API has: a request id, strict query parameters, one tenant in sight."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.access import get_job_of_tenant, jobs_of_tenant
from jobs.addresses import NAMES
from jobs.api.pages import read_query
from jobs.api.parsers import refuse_body
from jobs.api.problems import MEDIA_TYPE, request_id
from jobs.api.schema import takes_no_body
from jobs.errors import InvalidInput, JobNotFound, JobQueueError, QueueNotAllowed
from jobs.filters import Filter, Reader, Term
from jobs.keys import Scope, may_use
from jobs.models import NAME_PATTERN, ApiKey, Job, Tenant

SHOWS_NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""An answer of the API is no page: whoever makes a browser show it gets no script to run."""


class NothingHere(JobQueueError):
    """No address of the API looks like this."""

    code = "not_found"
    status = 404


def _refuse_malformed(part: str, value: str) -> None:
    if not re.fullmatch(NAME_PATTERN, value):
        raise InvalidInput(
            f"The {part} in the address is not a name: a letter or digit, and up to 127 more or "
            "dots, underscores, colons or hyphens.",
            code="invalid_name",
        )


class AnyAnswer(BaseContentNegotiation):
    """Answers probes and scrapers whatever they claim to accept."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The only one."""
        return next(iter(parsers), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The only one."""
        only = next(iter(renderers))
        return only, str(only.media_type)


class OneForm(DefaultContentNegotiation):
    """Does without weighing what most callers send and accept: the only form there is."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser of what was sent; None if that is nothing that it can read."""
        only = next(iter(parsers), None)
        if only and request.content_type == only.media_type:
            return only
        if "*" in request.content_type:  # what may be accepted, and not what something is
            return None
        return super().select_parser(request, parsers)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer, and the media type of the answer. Raises `NotAcceptable`."""
        only = next(iter(renderers))
        accepted = request.META.get("HTTP_ACCEPT", "*/*")
        if accepted in {"*/*", only.media_type} or MEDIA_TYPE in accepted:
            return only, str(only.media_type)
        return super().select_renderer(request, renderers, format_suffix)


class ApiView(APIView):
    """Answers with the request's id, and is kept by no cache."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        """Add the headers that every answer has."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["X-Request-Id"] = request_id(request)
        response["Cache-Control"] = "no-store"
        response["Content-Security-Policy"] = SHOWS_NOTHING
        return response


class PublicView(ApiView):
    """For probes: needs no key, and nobody is counted or refused."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    content_negotiation_class: type[BaseContentNegotiation] = AnyAnswer


class UnknownAddress(PublicView):
    """Everything under `/api/` that no other view answers."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise `NothingHere`, whatever the method."""
        slash = " No call's address ends in a slash." if request.path.endswith("/") else ""
        raise NothingHere(f"There is nothing at this address; see /api/docs/.{slash}")


class TenantView(ApiView):
    """Sees what belongs to the key's tenant. `scopes` says what each method needs of the key.

    `query` are the parameters that it knows; None where the view reads them itself. No POST has
    any.
    """

    scopes: ClassVar[Mapping[str, Scope]] = {}
    query: ClassVar[Mapping[str, Reader] | None] = {}
    content_negotiation_class: type[BaseContentNegotiation] = OneForm
    is_of_whole_tenant: ClassVar[bool] = False
    """Whether it shows or changes what is not of single queues: not for keys limited to some."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorise, count, and refuse what would be ignored.

        A method that there is not is the first to be refused: nothing else matters then.
        """
        super().initial(request, *args, **kwargs)
        method = str(request.method)
        if method not in self.allowed_methods:
            raise MethodNotAllowed(method)
        for part in NAMES & kwargs.keys():
            _refuse_malformed(part, kwargs[part])
        if self.is_of_whole_tenant and self.key.queues:
            raise QueueNotAllowed("This needs a key that is not limited to some queues.")
        query = {} if method == "POST" else self.query
        if query is not None:
            self.read_query(query)
        if getattr(type(self), method.lower(), None) in takes_no_body:
            refuse_body(request)

    def read_query(self, known: Mapping[str, Reader]) -> dict[str, Any]:
        """The query parameters, read. Raises `InvalidInput` for those that are not known."""
        return read_query(self.request, known)

    def require_queues(self, queues: Iterable[str]) -> None:
        """Raise `QueueNotAllowed` unless the key may use all of these queues."""
        refused = sorted({queue for queue in queues if not may_use(self.key, queue)})
        if refused:
            raise QueueNotAllowed(
                f"This key may use {', '.join(self.key.queues)}; not {', '.join(refused)}."
            )

    @property
    def key(self) -> ApiKey:
        """The key of the request."""
        key = self.request.auth
        if not isinstance(key, ApiKey):
            raise TypeError("a tenant's view was reached without a key")
        return key

    @property
    def tenant(self) -> Tenant:
        """The tenant of the key."""
        return self.key.tenant

    @property
    def actor(self) -> str:
        """Who the audit log names."""
        return f"key:{self.key.prefix}"

    @property
    def jobs(self) -> QuerySet[Job]:
        """The jobs of the tenant, in the queues that the key may use."""
        jobs = jobs_of_tenant(self.tenant)
        return jobs.filter(queue__in=self.key.queues) if self.key.queues else jobs

    @property
    def allowed(self) -> Filter:
        """What of the tenant's jobs the key may see, to narrow a filter."""
        queues = tuple(self.key.queues)
        return Filter((Term("queue", queues),)) if queues else Filter()

    def job(self, job_id: str | UUID) -> Job:
        """One job of the tenant. Raises `JobNotFound`, also where the key may not use its queue."""
        job = get_job_of_tenant(self.tenant, job_id)
        if not may_use(self.key, job.queue):
            raise JobNotFound("There is no such job.")
        return job
