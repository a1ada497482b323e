"""What the installation knows about its own running: workers, bulk actions, and who did what."""

from typing import Any, Literal

from django.db import models
from django.db.models import Q

from jobs.models.tenants import Tenant
from jobs.statuses import BulkAction, OperationState, WorkerRequest
from jobs.uuid7 import uuid7


class Worker(models.Model):
    """A worker process that is, or was lately, alive. One row per incarnation, never reused.

    A worker of a tenant's own, over REST, has its `tenant`, works for it alone, and has a row for
    its name; it never says that it stops.
    """

    id = models.CharField(primary_key=True, max_length=64)
    tenant = models.ForeignKey(Tenant, null=True, on_delete=models.CASCADE, related_name="workers")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = models.JSONField(default=list, help_text="Empty for every queue.")
    tasks = models.JSONField(default=list)
    tags = models.JSONField(default=list)
    environment_keys = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="Ids of the keys in its ENCRYPTION_KEYS, with commas between them.",
    )
    slots = models.PositiveIntegerField()
    running = models.PositiveIntegerField(default=0)
    memory_bytes = models.PositiveBigIntegerField(default=0)
    is_draining = models.BooleanField(default=False, help_text="Takes no more jobs.")
    asked_to = models.CharField(
        max_length=5,
        choices=[(r.value, r.value) for r in WorkerRequest],
        blank=True,
        default="",
        db_default="",
        help_text="What it is to do from its next heartbeat on.",
    )
    version = models.CharField(max_length=32, blank=True, default="", db_default="")
    python_version = models.CharField(max_length=32, blank=True, default="", db_default="")
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


class Operation(models.Model):
    """A bulk action on the jobs that match a filter, carried out in the background, oldest first.

    It is about jobs that were there when it was made, and comes to each of them once: `position` is
    the last one that it has looked at. `matched` is the sum of `done` and `skipped`, which are
    those whose status had changed meanwhile. Times are the database's.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="operations",
        help_text="Whose jobs; null for those of all tenants.",
    )
    action = models.CharField(max_length=10, choices=[(a.value, a.value) for a in BulkAction])
    filter = models.TextField()
    rate_per_second = models.FloatField(null=True, help_text="Jobs done per second; null: no pace.")
    expected = models.PositiveIntegerField(help_text="Matches that were counted at the start.")
    is_expected_capped = models.BooleanField(help_text="There may have been more.")
    state = models.CharField(
        max_length=9,
        choices=[(s.value, s.value) for s in OperationState],
        default=OperationState.RUNNING,
    )
    reason = models.TextField(blank=True, default="", db_default="", help_text="Why it failed.")
    actor = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(help_text="When its next step is due.")
    position = models.UUIDField(null=True)
    matched = models.PositiveBigIntegerField(default=0)
    done = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    runner = models.CharField(
        max_length=64, blank=True, default="", help_text="The worker that took a step last."
    )
    fence = models.BigIntegerField(default=0)
    held_until = models.DateTimeField(null=True, help_text="While a step is being taken.")
    idempotency_key = models.CharField(max_length=255, null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="operation_idempotency",
            )
        ]
        indexes = [
            models.Index("tenant", models.F("id").desc(), name="operation_of_tenant"),
            models.Index(
                fields=["next_at"],
                condition=Q(state=OperationState.RUNNING),
                name="operation_running",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.filter}"


AuditAction = Literal[
    "submit",
    "cancel",
    "retry",
    "redrive",
    "discard",
    "export",
    "purge",
    "pause",
    "resume",
    "start_operation",
    "cancel_operation",
    "end_operation",
    "fail_operation",
    "create_api_key",
    "rotate_api_key",
    "revoke_api_key",
    "create_tenant",
    "delete_tenant",
    "change_limits",
    "limit_task",
    "unlimit_task",
    "set_members",
    "change_member",
    "remove_member",
    "encrypt_tenant",
    "rotate_tenant_key",
    "erase_tenant_key",
    "rewrap_tenant_keys",
    "quiet_worker",
    "stop_worker",
    "resume_worker",
    "create_user",
    "change_user",
    "delete_user",
    "create_group",
    "change_group",
    "delete_group",
]
"""All that the audit log can tell of."""


class AppendOnly(models.QuerySet["AuditEntry"]):
    """Entries that stay as they were written. A trigger of the database says the same."""

    def update(self, **changes: Any) -> int:
        """Refused: raises `TypeError`."""
        raise TypeError("the audit log is append only")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Refused: raises `TypeError`."""
        raise TypeError("the audit log is append only")


class AuditEntry(models.Model):
    """Who did what to what, and from where. Append only: it outlives the tenant that it is about.

    `details` has what there is of `before` and `after`, of a `filter` and of the `count` of jobs.
    """

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150)
    address = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=50)
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    target = models.CharField(max_length=200)
    details = models.JSONField(default=dict)

    objects = AppendOnly.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index("tenant", models.F("id").desc(), name="audit_of_tenant")]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"

    def save(self, *args: Any, **options: Any) -> None:
        """Append it. Raises `TypeError` for an entry that is there already."""
        if not self._state.adding:
            raise TypeError("the audit log is append only")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Refused: raises `TypeError`."""
        raise TypeError("the audit log is append only")
