"""Actions that ask first: a page names how many rows and shows a sample, then the action runs.

What is confirmed is what was shown: the page carries the ids, so that rows which match the filter
only later are not swept along.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import (
    display_for_field,
    display_for_value,
    label_for_field,
    lookup_field,
)
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from jobs.access import actor_of
from jobs.errors import JobQueueError

SAMPLE_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One thing that can be done to rows.

    permission: who may; `operate` asks the admin's `has_operate_permission`
    consequence: what the confirmation page says will happen
    """

    label: str
    consequence: str
    permission: str
    is_destructive: bool = False


@dataclass(frozen=True, kw_only=True)
class Deed(Verb):
    """One that is done within the request.

    act: does it to the rows of these primary keys, for this actor; answers how many it was done to
    """

    done: str
    act: Callable[[Sequence[Any], str], int]


class AskingAdmin(admin.ModelAdmin):
    """A list whose actions are `verbs`, each behind a confirmation page.

    `asked_as_well` is the form of what that page asks beside whether it is meant.
    """

    verbs: ClassVar[Mapping[str, Verb]] = {}
    asked_as_well: type[forms.Form] = forms.Form
    most_at_once = 1_000

    def __init__(self, model: type[Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self.actions = [_asking(name, verb) for name, verb in self.verbs.items()]

    def get_urls(self) -> list[URLPattern]:
        """The admin's own addresses and the confirmation page."""
        confirm = path(
            "confirm/<slug:name>/",
            self.admin_site.admin_view(self.confirm_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_confirm",
        )
        return [confirm, *super().get_urls()]

    def carry_out(
        self, request: HttpRequest, name: str, ids: Sequence[Any], **asked: Any
    ) -> str | None:
        """Do it, tell the user so, and answer the address to go on at; None for the list.

        Raises `JobQueueError`, which the user is told.
        """
        raise NotImplementedError

    def confirm_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask about the rows of `?ids=`; on POST, do it to the rows of `ids`."""
        self._verb(request, name)
        if request.method == "POST":
            return self._answered(request, name)
        chosen = self._parse_ids(request.GET.get("ids", ""))
        return self._ask(request, name, self._rows(request, chosen))

    def _rows(self, request: HttpRequest, ids: Sequence[Any]) -> QuerySet[Any]:
        return self.get_queryset(request).filter(pk__in=ids)

    def _verb(self, request: HttpRequest, name: str) -> Verb:
        if name not in self.verbs:
            raise Http404(f"There is no action {name!r}.")
        verb = self.verbs[name]
        may_act = getattr(self, f"has_{verb.permission}_permission")(request)
        if not (may_act and self.has_view_permission(request)):  # the question shows the rows
            raise PermissionDenied
        return verb

    def ask(self, request: HttpRequest, name: str, rows: QuerySet[Any]) -> HttpResponse:
        """The confirmation page for these rows of the list, as it is filtered."""
        return self._ask(request, name, rows, back=request.GET.urlencode())

    def _ask(
        self,
        request: HttpRequest,
        name: str,
        rows: QuerySet[Any],
        *,
        back: str = "",
        form: forms.Form | None = None,
    ) -> HttpResponse:
        verb = self._verb(request, name)
        ids = list(rows.values_list("pk", flat=True)[: self.most_at_once])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{verb.label}: are you sure?",
            "verb": verb,
            "action": reverse(f"admin:jobs_{self.opts.model_name}_confirm", args=[name]),
            "ids": ",".join(str(pk) for pk in ids),
            "count": len(ids),
            "left": rows.order_by()[self.most_at_once : 10 * self.most_at_once].count(),
            "back": back,
            "list": self._list_address(back),
            "form": form or self.asked_as_well(),
            **self._sample(request, rows),
        }
        status = 400 if form else 200
        return TemplateResponse(request, "admin/jobs/confirm.html", context, status=status)

    def _sample(self, request: HttpRequest, queryset: QuerySet[Any]) -> dict[str, Any]:
        columns = {
            label_for_field(column, self.model, self): column
            for column in self.get_list_display(request)
        }
        return {
            "columns": list(columns),
            "rows": [
                [(label, self._cell(column, row)) for label, column in columns.items()]
                for row in queryset[:SAMPLE_ROWS]
            ],
        }

    def _cell(self, column: Any, row: Any) -> Any:
        field, _, value = lookup_field(column, row, self)
        return display_for_field(value, field, "-") if field else display_for_value(value, "-")

    def _answered(self, request: HttpRequest, name: str) -> HttpResponse:
        ids, back = self._parse_ids(request.POST.get("ids", "")), request.POST.get("back", "")
        form = self.asked_as_well(request.POST)
        if not form.is_valid():
            return self._ask(request, name, self._rows(request, ids), back=back, form=form)
        address = None
        try:
            address = self.carry_out(request, name, ids, **form.cleaned_data)
        except JobQueueError as error:
            messages.error(request, error.detail)
        else:
            self._tell_what_is_left(request)
        return HttpResponseRedirect(address or self._list_address(back))

    def _tell_what_is_left(self, request: HttpRequest) -> None:
        left = request.POST.get("left", "0")
        if left.isdecimal() and int(left):
            messages.warning(request, f"{int(left):,} more matched and remain for another round.")

    def _list_address(self, filters: str) -> str:
        address = reverse(f"admin:jobs_{self.opts.model_name}_changelist")
        return f"{address}?{filters}" if filters else address

    def _parse_ids(self, text: str) -> list[Any]:
        parse = self.opts.pk.to_python
        try:
            ids = [parse(part) for part in text.split(",") if part]
        except ValidationError as error:
            raise BadRequest("That is not a list of ids.") from error
        if len(ids) > self.most_at_once:
            raise BadRequest(f"At most {self.most_at_once} at once.")
        return ids


class ActingAdmin(AskingAdmin):
    """One whose verbs are done at once."""

    verbs: ClassVar[Mapping[str, Deed]] = {}

    def carry_out(
        self, request: HttpRequest, name: str, ids: Sequence[Any], **asked: Any
    ) -> str | None:
        """Do it, and say to how many rows it was done."""
        deed = self.verbs[name]
        count = deed.act(ids, actor_of(request))
        nouns = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        messages.success(request, f"{deed.done} {count:,} {nouns}.")
        if alone := len(ids) - count:
            messages.warning(request, f"Left alone: {alone:,}, which others had changed meanwhile.")
        return None


def _asking(name: str, verb: Verb) -> Callable[..., HttpResponse]:
    """The list's action that leads to the confirmation page of a verb."""

    @admin.action(description=verb.label, permissions=[verb.permission])
    def ask(model_admin: AskingAdmin, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse:
        return model_admin.ask(request, name, rows)

    ask.__name__ = name
    return ask
