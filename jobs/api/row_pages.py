"""Lists of rows that are not jobs, newest first, by a signed cursor as lists of jobs have it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.core import signing
from django.db.models import QuerySet
from rest_framework.request import Request

from jobs.api.pages import DEFAULT_LIMIT, limit, read_query
from jobs.errors import InvalidInput
from jobs.filters import Reader
from jobs.models import Tenant

_SALT = "jobs.api.rows"


class RowPage(NamedTuple):
    """What a list request asks for; `seal` is what its cursor has to be of."""

    filters: dict[str, Any]
    limit: int
    after: int | str | None
    seal: list[Any]


def read_rows(
    request: Request, tenant: Tenant, filters: Mapping[str, Reader] | None = None
) -> RowPage:
    """What the request asks for. Raises `InvalidInput`."""
    given = read_query(request, {**(filters or {}), "limit": limit, "cursor": str})
    size, cursor = given.pop("limit", DEFAULT_LIMIT), given.pop("cursor", None)
    sources = sorted([key, request.query_params[key]] for key in given)
    seal = [tenant.pk, request.path, sources]
    return RowPage(given, size, _open(cursor, seal), seal)


def _open(cursor: str | None, seal: list[Any]) -> int | str | None:
    if cursor is None:
        return None
    try:
        *sealed, last = signing.loads(cursor, salt=_SALT)
    except signing.BadSignature:
        sealed, last = [], 0
    if sealed != seal:
        raise InvalidInput("The cursor is not one of this list.", code="invalid_cursor")
    known: int | str = last
    return known


def rows_as_page(
    request: Request, page: RowPage, rows: QuerySet[Any], as_json: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """A page of the rows, and the address of the next."""
    if page.after is not None:
        rows = rows.filter(pk__lt=page.after)
    found = list(rows.order_by("-pk")[: page.limit + 1])
    shown = found[: page.limit]
    more = _next(request, page, shown[-1].pk) if len(found) > page.limit else None
    return {"results": [as_json(row) for row in shown], "next": more}


def _next(request: Request, page: RowPage, last: int | UUID) -> str:
    query = request._request.GET.copy()
    key = last if isinstance(last, int) else str(last)
    query["cursor"] = signing.dumps([*page.seal, key], salt=_SALT)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
