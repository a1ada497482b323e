"""The admin site: its names, the dead letters first, and their number on the first page.

Not a part of `jobs.admin`, whose modules register themselves with this site as they are imported.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse, reverse_lazy

from jobs.models import DeadLetter

COUNTED_AT_MOST = 10_000


class JobQueueAdminSite(admin.AdminSite):
    """Stock admin in the project's order."""

    site_header = "Job queue"
    site_title = "Job queue"
    index_title = "Operations"
    site_url = reverse_lazy("overview")  # type: ignore[assignment]

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """On to the login page of all, which counts the attempts; a 403 for who is no staff."""
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        if request.user.is_authenticated:
            raise PermissionDenied
        there = request.GET.get(REDIRECT_FIELD_NAME) or reverse("admin:index")
        return redirect_to_login(there, reverse("login"))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The apps with jobs first, and among them the dead letters first."""
        app_list = super().get_app_list(request, app_label)
        for app in app_list:
            app["models"].sort(key=lambda model: model["object_name"] != "DeadLetter")
        return sorted(app_list, key=lambda app: app["app_label"] != "jobs")

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The first page, with the number of dead letters for those who may see them."""
        context = dict(extra_context or {})
        if request.user.has_perm("jobs.view_job"):
            count = DeadLetter.objects.order_by()[: COUNTED_AT_MOST + 1].count()
            context |= {
                "dead_letters": min(count, COUNTED_AT_MOST),
                "are_more": count > COUNTED_AT_MOST,
            }
        return super().index(request, context)
