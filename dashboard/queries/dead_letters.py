"""Dead letters, grouped by what went wrong, and the newest of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db.models.functions import Now

from dashboard.queries.counts import Count
from dashboard.scope import PageScope
from jobs.dead_letter_groups import GROUPED, Group, Row, grouped
from jobs.fingerprint import LOOKED_AT
from jobs.models import Job
from jobs.statuses import Status
from jobs.store.dialect import BY_TENANT, IN_UNUSUAL, as_uuid, fetch, is_postgresql

SHOWN = 50
LISTED = 50


# Past the ORM: it would make a time and an id of each row, which takes longer than all the rest.
_FIRST = " ORDER BY id DESC LIMIT %(limit)s"
_OF_ALL = f"status = '{Status.DLQ}'"
_OF_TENANT = f"""tenant_id = %(tenant_{{}})s AND status = '{Status.DLQ}'
    AND {IN_UNUSUAL}"""
_NEWEST = f"""
SELECT id, task, error_type, substr(error_message, 1, {LOOKED_AT}) AS message,
    MICROSECONDS(finished_at) AS died
FROM jobs_job WHERE {{whose}}{_FIRST}"""


class Groups(NamedTuple):
    """The largest groups `among` so many dead letters; counts are capped if there were more."""

    largest: list[tuple[Group, Count]]
    kinds: int
    among: int
    is_capped: bool


def newest(scope: PageScope) -> list[Row]:
    """The newest dead letters in scope, newest first: those of each tenant are in that order."""
    asked: dict[str, Any] = {"limit": GROUPED + 1}
    parts = []
    for number, tenant in enumerate(scope.searched):
        asked[f"tenant_{number}"] = tenant and tenant.pk
        parts.append(_NEWEST.format(whose=_OF_TENANT.format(number) if tenant else _OF_ALL))
    several = " UNION ALL ".join(f"SELECT * FROM ({part}) AS own" for part in parts)
    statement = f"{several}{_FIRST}" if len(parts) > 1 else parts[0]
    rows = fetch(statement, asked, before=[BY_TENANT] if is_postgresql() else [])
    return list(map(Row._make, rows))


def groups(scope: PageScope, rows: Sequence[Row]) -> Groups:
    """The newest dead letters by what went wrong; by its type alone where no more may be read."""
    is_capped = len(rows) > GROUPED
    newest = rows[:GROUPED]
    largest, kinds = grouped(newest, tells_messages=scope.is_readable, at_most=SHOWN)
    return Groups(
        [(one, Count(one.total, is_capped)) for one in largest], kinds, len(newest), is_capped
    )


def listed(rows: Sequence[Row]) -> list[Any]:
    """The first of these dead letters, each with `now`."""
    ids = [as_uuid(row.id) for row in rows[:LISTED]]
    found = Job.objects.filter(pk__in=ids).defer("payload", "result").annotate(now=Now())
    return list(found.order_by("-pk"))
