"""Pages of rows whose ids rise with time, newest first: one costs as much as another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import QuerySet

from jobs.lookup import newest

PAGE = 50
SEARCHED = 50_000
"""So many of the rows before a place are looked at for a page of matches."""

Row = TypeVar("Row", bound=Any)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows. `before` is the place of the next page, None at the end.

    `searched_to` is that place where the search ended before it had found a page.
    """

    rows: Sequence[Row]
    before: int | None = None
    searched_to: int | None = None


def page_of(rows: QuerySet[Any], before: str = "", **matching: Any) -> Page[Any]:
    """The newest rows before an id that match, of the next `SEARCHED` ones."""
    place = int(before) if before.isdecimal() and len(before) < 19 else None
    rows = rows.order_by("-pk") if place is None else rows.order_by("-pk").filter(pk__lt=place)
    looked_at = newest(rows, SEARCHED) if matching else rows
    found = list(looked_at.filter(**matching)[: PAGE + 1])
    if len(found) > PAGE:
        return Page(found[:PAGE], before=found[PAGE - 1].pk)
    edge = rows.values_list("pk", flat=True)[SEARCHED - 1 : SEARCHED].first() if matching else None
    return Page(found, searched_to=edge)
