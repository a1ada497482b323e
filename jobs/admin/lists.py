"""What the lists share: they stay fast over millions of rows, and rows are not edited in them."""

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.timezone import localtime

COUNTED_AT_MOST = 10_000
"""A list counts, and pages, this far; who looks for an older row filters or searches."""

CHOICES_AT_MOST = 50
"""Values that a filter offers; its parameter takes any other as well."""


class BoundedPaginator(Paginator):
    """Pages over the first `COUNTED_AT_MOST` rows, so that no count reads a whole table."""

    @cached_property
    def count(self) -> int:
        """The number of rows, at most `COUNTED_AT_MOST`."""
        return min(self._counted, COUNTED_AT_MOST)

    @property
    def is_cut_off(self) -> bool:
        """Whether there are more rows than `count` says."""
        return self._counted > COUNTED_AT_MOST

    @cached_property
    def _counted(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by().values("pk")[: COUNTED_AT_MOST + 1].count()


class BoundedList(admin.ModelAdmin):
    """A list whose every page costs the same, however long the table is.

    Rows come in the order of their index. The address accepts the parameters of `list_filter`
    and no free lookups: those could scan the table, or guess at columns that are not shown.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    sortable_by = ()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, called by what is in it."""
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def action_checkbox(self, obj: Model) -> SafeString:
        """The box that chooses a row. Django renders a form's widget for each."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            *(ACTION_CHECKBOX_NAME, obj.pk, f"Select {obj} for an action"),
        )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Whether a parameter of the address may filter the list."""
        return lookup in {listed.parameter_name for listed in self.list_filter}  # type: ignore[union-attr]


class ReadOnly(admin.ModelAdmin):
    """Rows that the system writes: to be looked at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes rows here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes rows here."""
        return False


class ValueFilter(admin.SimpleListFilter):
    """A filter by the value of one column; whether an index finds its rows."""

    column: ClassVar[str]
    is_indexed: ClassVar[bool] = False

    def values(self, request: HttpRequest) -> Iterable[str]:
        """The values to offer."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        """The values to offer; the chosen one is always among them."""
        chosen = [self.value()] if self.value() else []
        offered = dict.fromkeys([*self.values(request), *chosen])
        return [(value, value) for value in offered if value]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows with the chosen value."""
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


def breakable(name: str) -> SafeString:
    """A long name that a line may end in, behind a dot or an underscore and nowhere else."""
    return format_html_join(mark_safe("<wbr>"), "{}", ([part] for part in _PARTS.findall(name)))


_PARTS = re.compile(r"[^._]*[._]+|[^._]+")


def long_name(field: str) -> Any:
    """A column with a long name."""

    @admin.display(description=field.replace("_", " "))
    def shown(row: Any) -> str:
        return breakable(getattr(row, field))

    shown.__name__ = field
    return shown


def instant(field: str) -> Any:
    """A column or field with this time to the second; Django's own formats have none."""

    @admin.display(description=field.replace("_", " "))
    def shown(row: Any) -> str | None:
        moment = getattr(row, field)
        return moment and localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z")

    shown.__name__ = field
    return shown
