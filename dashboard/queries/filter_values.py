"""What could stand behind a word of a filter: names that there are, read in bounded steps."""

from collections.abc import Callable, Iterable, Mapping

from django.db import connection

from dashboard.scope import PageScope
from jobs.filters import bare_or_quoted
from jobs.models import Lane, Line
from jobs.statuses import Status

OFFERED = 12
MAX_TAGS = 200
MAX_TENANTS = 5
"""Of so many tenants the tags are read, and so many of each."""


def values_of(scope: PageScope, word: str, start: str) -> list[str]:
    """Values of the word that begin with this, then those that have it, as a filter writes them."""
    wanted = start.lower()
    found = [one for one in _READ[word](scope) if wanted in one.lower()] if word in _READ else []
    nearest = sorted(found, key=lambda one: (not one.lower().startswith(wanted), one))[:OFFERED]
    return [bare_or_quoted(one) for one in nearest]


def _statuses(scope: PageScope) -> Iterable[str]:
    return [status.value for status in Status]


def _queues(scope: PageScope) -> Iterable[str]:
    return set(Lane.objects.filter(tenant__in=scope.ids).values_list("queue", flat=True))


def _tasks(scope: PageScope) -> Iterable[str]:
    lines = Line.objects.filter(lane__tenant__in=scope.ids).order_by()
    return lines.values_list("task", flat=True).distinct()


# From one tag to the next by the index: how many jobs have it does not matter.
_TAGS = """
WITH RECURSIVE found (tag) AS (
    SELECT min(tag) FROM jobs_jobtag WHERE tenant_id = %(tenant)s
    UNION ALL
    SELECT (SELECT min(tag) FROM jobs_jobtag WHERE tenant_id = %(tenant)s AND tag > found.tag)
    FROM found WHERE found.tag IS NOT NULL
)
SELECT tag FROM found WHERE tag IS NOT NULL LIMIT %(limit)s"""


def _tags(scope: PageScope) -> Iterable[str]:
    found: set[str] = set()
    with connection.cursor() as cursor:
        for tenant_id in scope.ids[:MAX_TENANTS]:
            cursor.execute(_TAGS, {"tenant": tenant_id, "limit": MAX_TAGS})
            found |= {tag for (tag,) in cursor.fetchall()}
    return found


_READ: Mapping[str, Callable[[PageScope], Iterable[str]]] = {
    "status": _statuses,
    "queue": _queues,
    "task": _tasks,
    "tag": _tags,
}
