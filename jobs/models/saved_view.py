"""Filters that people keep by a name."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from jobs.models.tenants import Tenant


class SavedView(models.Model):
    """A filter of the list of jobs, kept by a user under a name.

    It is of a tenant's jobs, or of all that its user sees. A shared one is there for everybody who
    sees the tenant.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views"
    )
    tenant = models.ForeignKey(
        Tenant, null=True, on_delete=models.CASCADE, related_name="saved_views"
    )
    name = models.CharField(max_length=60)
    filter = models.TextField()
    is_shared = models.BooleanField(default=False)

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "tenant", "name"],
                condition=Q(tenant__isnull=False),
                name="saved_view_once",
            ),
            models.UniqueConstraint(
                fields=["user", "name"],
                condition=Q(tenant__isnull=True),
                name="saved_view_of_all_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name
