"""What the installation knows about its own running: workers, and who did what."""

from django.db import models

from jobs.models.tenants import Tenant


class Worker(models.Model):
    """A worker process that is, or was lately, alive. One row per incarnation, never reused."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = models.JSONField(default=list, help_text="Empty for every queue.")
    tasks = models.JSONField(default=list)
    tags = models.JSONField(default=list)
    slots = models.PositiveIntegerField()
    running = models.PositiveIntegerField(default=0)
    memory_bytes = models.PositiveBigIntegerField(default=0)
    is_draining = models.BooleanField(default=False)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    stopped_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return self.id


class Chore(models.Model):
    """Work that one process at a time does, and nobody before a time. Who begins sets the next."""

    name = models.CharField(primary_key=True, max_length=24)
    not_before = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """Who did what to what. Append only."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=50)
    tenant = models.ForeignKey(Tenant, null=True, on_delete=models.SET_NULL, related_name="+")
    target = models.CharField(max_length=200)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"
