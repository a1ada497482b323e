"""What forms share that save through the services: those may refuse what the form let pass."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import ForeignKey
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from jobs.errors import JobQueueError


class ServiceForms(admin.ModelAdmin):
    """Says on the form's page what the services refused; nothing was saved then."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form, or what was refused above it anew."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except JobQueueError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        """With a widget that can show a form again that no browser sent."""
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = _Select(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class _Select(AutocompleteSelect):
    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        known = [one for one in value if one.isdecimal() and len(one) < len(str(2**63))]
        return super().optgroups(name, known, attrs)
