"""Lists: query parameters read strictly, pages by cursor.

A page ends after `limit` jobs, or when its bodies would be too large to hold, or when so many jobs
were looked at that a search for what is rare would take long; `next` then leads on. The cursor
names the last job and is signed together with the tenant and the filter, so it serves nobody and
nothing else. Ids are UUIDv7: newest first is the order of the primary key.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.core import signing
from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Length
from rest_framework.request import Request

from jobs.errors import InvalidInput
from jobs.job_filters import Reader, filtered, read_parameter
from jobs.job_json import job_as_json
from jobs.lookup import edge_of
from jobs.models import Job, Tenant
from jobs.statuses import UNUSUAL, Status

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
MAX_PAGE_BYTES = 8_000_000
SEARCHED_AT_MOST = 10_000
"""Jobs that one page looks at where no index finds those that match."""
_SALT = "jobs.api.cursor"


class Page(NamedTuple):
    """What a list request asks for."""

    filters: dict[str, Any]
    limit: int
    after: uuid.UUID | None
    seal: list[Any]


def read_query(request: Request, known: Mapping[str, Reader]) -> dict[str, Any]:
    """The query parameters by name, read. Raises `InvalidInput` for unknown or repeated ones."""
    given: dict[str, Any] = {}
    for name, values in request.query_params.lists():
        if name not in known:
            raise InvalidInput(
                f"There is no parameter {name[:50]!r}; known are {', '.join(known) or 'none'}.",
                code="unknown_parameter",
            )
        if len(values) > 1:
            raise InvalidInput(f"{name} is given twice.", code="invalid_parameter")
        given[name] = read_parameter(name, values[0], known[name])
    return given


def limit(value: str) -> int:
    """How many jobs a page may have."""
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_LIMIT:
        raise InvalidInput(f"is from 1 to {MAX_LIMIT}.", code="out_of_range")
    return int(value)


def read_page(request: Request, tenant: Tenant, filters: Mapping[str, Reader]) -> Page:
    """What the request asks for. Raises `InvalidInput`."""
    known: dict[str, Reader] = {**filters, "limit": limit, "cursor": str}
    given = read_query(request, known)
    size, cursor = given.pop("limit", DEFAULT_LIMIT), given.pop("cursor", None)
    sources = sorted((key, request.query_params[key]) for key in given)
    digest = hashlib.sha256(repr((request.path, sources)).encode()).hexdigest()[:16]
    seal = [tenant.pk, digest]
    return Page(given, size, _open(cursor, seal), seal)


def _open(cursor: str | None, seal: list[Any]) -> uuid.UUID | None:
    if cursor is None:
        return None
    try:
        *sealed, last = signing.loads(cursor, salt=_SALT)
    except signing.BadSignature:
        sealed, last = [], ""
    if sealed != seal:
        raise InvalidInput("The cursor is not one of this list.", code="invalid_cursor")
    return uuid.UUID(last)


def page_of(request: Request, tenant: Tenant, jobs: QuerySet[Job], page: Page) -> dict[str, Any]:
    """One page of those of the jobs that match, newest first, and the address of the next."""
    found, edge = _searched(tenant, jobs.order_by("-pk"), page)
    chosen, has_more = _chosen(found, page.limit)
    rows = list(found.filter(pk__in=chosen)) if chosen else []
    last = chosen[-1] if has_more else edge
    return {
        "results": [job_as_json(job) for job in rows],
        "next": _next(request, page, last) if last else None,
    }


def _searched(
    tenant: Tenant, jobs: QuerySet[Job], page: Page
) -> tuple[QuerySet[Job], uuid.UUID | None]:
    """The jobs that match, and the job at which the search for them ends, None if at the last."""
    by_index = {key: value for key, value in page.filters.items() if _has_index(key, value)}
    others = {key: value for key, value in page.filters.items() if key not in by_index}
    candidates = filtered(jobs, tenant, by_index)
    if page.after:
        candidates = candidates.filter(pk__lt=page.after)
    edge = edge_of(candidates, SEARCHED_AT_MOST) if others else None
    if edge:
        candidates = candidates.filter(pk__gte=edge)
    return filtered(candidates, tenant, others), edge


def _has_index(key: str, value: Any) -> bool:
    """Whether jobs that match are found without looking at others."""
    if key == "status":
        return {*UNUSUAL, Status.RUNNING}.issuperset(value)
    return key in {"tag", "created_after", "created_before"}


def _chosen(jobs: QuerySet[Job], size: int) -> tuple[list[uuid.UUID], bool]:
    """The ids of a page whose bodies are not too large together, and whether more follow."""
    weights = jobs.values_list("pk", Length("payload") + Coalesce(Length("result"), 0))
    chosen: list[uuid.UUID] = []
    weight = 0
    for job_id, own in weights[: size + 1]:
        weight += own
        if len(chosen) == size or (chosen and weight > MAX_PAGE_BYTES):
            return chosen, True
        chosen.append(job_id)
    return chosen, False


def _next(request: Request, page: Page, last: uuid.UUID) -> str:
    query = request._request.GET.copy()
    query["cursor"] = signing.dumps([*page.seal, str(last)], salt=_SALT)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
