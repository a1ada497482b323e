"""Django's admin, with the project's site as its site."""

from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """Stock admin; `jobs.admin.site` orders and names it."""

    default_site = "jobs.admin.site.JobQueueAdminSite"
