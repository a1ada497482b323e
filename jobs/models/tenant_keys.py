"""The keys with which tenants' values are encrypted at rest."""

from django.db import models

from jobs.models.tenants import Tenant


class TenantKey(models.Model):
    """A data key of a tenant, wrapped by the key of the environment that has the id `wrapped_by`.

    A tenant seals with the one that `Tenant.key_id` names; earlier ones open what they have sealed.
    An erased one is an empty row: nothing brings back what it sealed.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="encryption_keys")
    wrapped = models.BinaryField()
    wrapped_by = models.CharField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)
    erased_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.pk}"
