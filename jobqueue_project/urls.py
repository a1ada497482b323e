"""Where each part of the product lives."""

from django.contrib import admin
from django.urls import include, path

handler400 = "jobs.api.problems.bad_request"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("jobs.api.urls")),
    path("", include("dashboard.urls")),
]
