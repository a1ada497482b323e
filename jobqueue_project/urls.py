"""Where each part of the product lives."""

from django.contrib import admin
from django.urls import include, path

from dashboard.events import Events

handler400 = "jobs.api.problems.bad_request"

api = [
    path("api/v1/events", Events.as_view(), name="api-events"),
    path("", include("jobs.api.urls")),
]
urlpatterns = [
    path("admin/", admin.site.urls),
    *api,
    path("", include("dashboard.urls")),
]
