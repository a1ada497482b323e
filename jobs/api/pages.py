"""Lists: query parameters read strictly, pages by cursor, newest first.

A page of jobs ends after `limit` jobs, or when its bodies would be too large to hold, or when so
many jobs were looked at that a search for what is rare would take long; `next` then leads on. The
cursor names the last row and is signed together with the tenant and the filter, so it serves nobody
and nothing else. Ids of jobs are UUIDv7: newest first is the order of each primary key.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.core import signing
from django.db.models import QuerySet
from rest_framework.request import Request

from jobs.errors import InvalidInput
from jobs.filters import Filter, Reader
from jobs.job_filters import all_of, read_parameter
from jobs.job_json import job_as_json
from jobs.job_search import Search
from jobs.models import Tenant

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
_SALT = "jobs.api.cursor"


class PageRequest(NamedTuple):
    """What a list request asks for: the filters by name, how many rows, and after which.

    Its cursor has to be of `seal`.
    """

    filters: dict[str, Any]
    limit: int
    after: str | None
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
    """How many rows a page may have."""
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MAX_LIMIT:
        raise InvalidInput(f"is from 1 to {MAX_LIMIT}.", code="out_of_range")
    return int(value)


def read_page(request: Request, tenant: Tenant, filters: Mapping[str, Reader]) -> PageRequest:
    """What the request asks for. Raises `InvalidInput`."""
    known: dict[str, Reader] = {**filters, "limit": limit, "cursor": str}
    given = read_query(request, known)
    size, cursor = given.pop("limit", DEFAULT_LIMIT), given.pop("cursor", None)
    sources = sorted((key, request.query_params[key]) for key in given)
    digest = hashlib.sha256(repr((request.path, sources)).encode()).hexdigest()[:16]
    seal = [tenant.pk, digest]
    return PageRequest(given, size, _open(cursor, seal), seal)


def _open(cursor: str | None, seal: list[Any]) -> str | None:
    if cursor is None:
        return None
    try:
        *sealed, last = signing.loads(cursor, salt=_SALT)
    except signing.BadSignature:
        sealed, last = [], ""
    if sealed != seal:
        raise InvalidInput("The cursor is not one of this list.", code="invalid_cursor")
    return str(last)


def page_of_jobs(
    request: Request, tenant: Tenant, page: PageRequest, *, within: Filter
) -> dict[str, Any]:
    """One page of the tenant's jobs within a filter that match, and the address of the next."""
    after = UUID(page.after) if page.after else None
    jobs, last = Search(tenant, within & all_of(page.filters)).page(after, page.limit)
    return {
        "results": [job_as_json(job) for job in jobs],
        "next": _next(request, page, last) if last else None,
    }


def page_of_rows(
    request: Request,
    page: PageRequest,
    rows: QuerySet[Any],
    as_json: Callable[[Any], dict[str, Any]],
) -> dict[str, Any]:
    """A page of the rows, whatever they are of, and the address of the next."""
    if page.after is not None:
        rows = rows.filter(pk__lt=page.after)
    found = list(rows.order_by("-pk")[: page.limit + 1])
    shown = found[: page.limit]
    more = _next(request, page, shown[-1].pk) if len(found) > page.limit else None
    return {"results": [as_json(row) for row in shown], "next": more}


def _next(request: Request, page: PageRequest, last: UUID | int) -> str:
    query = request._request.GET.copy()
    query["cursor"] = signing.dumps([*page.seal, str(last)], salt=_SALT)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
