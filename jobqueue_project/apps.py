"""Django's admin, with the project's site as its site."""

from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """Stock admin; `jobs.admin_site` orders and names it."""

    default_site = "jobs.admin_site.JobQueueAdminSite"
