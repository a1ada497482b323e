"""Where each part of the product lives."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("jobs.api.urls")),
    path("", include("dashboard.urls")),
]
