"""The domain's tables. Rows of `Job`, `Attempt` and `LaneMinute` are written by the store alone.

Hot tables carry plain ids of tenants and lanes instead of foreign keys: a database foreign key
costs a share lock on a shared parent for every insert.
"""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from jobs.statuses import UNUSUAL, AttemptOutcome, Reason, Status
from jobs.uuid7 import uuid7

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"
"""What a queue, task or tag may be called."""

valid_slug = RegexValidator(
    r"\A[a-z0-9][a-z0-9-]{0,62}\Z",
    "A slug is 1 to 63 lower-case letters, digits or hyphens, not starting with a hyphen.",
)
valid_name = RegexValidator(
    rf"\A{NAME_PATTERN}\Z",
    "A name is 1 to 128 letters, digits, dots, underscores, colons or hyphens.",
)
WEIGHT = [MinValueValidator(1), MaxValueValidator(1_000)]


class Tenant(models.Model):
    """Who owns jobs, keys and limits. A limit of null means: none."""

    slug = models.CharField(max_length=63, unique=True, validators=[valid_slug])
    is_active = models.BooleanField(default=True)
    weight = models.PositiveSmallIntegerField(
        default=1, validators=WEIGHT, help_text="Share of the workers, relative to other tenants."
    )
    max_running = models.PositiveIntegerField(
        null=True, blank=True, default=5, help_text="Jobs running at once. Empty for no limit."
    )
    submissions_per_minute = models.PositiveIntegerField(
        null=True, blank=True, default=10, help_text="Accepted per 60 seconds. Empty for no limit."
    )
    max_pending = models.PositiveIntegerField(
        null=True, blank=True, default=None, help_text="Waiting jobs. Empty for no limit."
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        related_name="tenants",
        help_text="Users who see this tenant on the dashboard.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class ApiKey(models.Model):
    """A Bearer key of a tenant. The secret is shown once; only its keyed hash is kept."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"jq_{self.prefix}_…"


class SubmissionSecond(models.Model):
    """Jobs a rate-limited tenant submitted in one second: the tenant's sliding window.

    Source: "sliding window log" with one-second buckets; a second counts whole until it has left
    the window, so the limit is never exceeded in any 60 seconds.
    """

    tenant_id = models.BigIntegerField()
    second = models.BigIntegerField(help_text="Seconds since 1970, by the database's clock.")
    submitted = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "second"], name="submission_second_once")
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id}@{self.second}"


class Lane(models.Model):
    """One tenant's part of one queue: the unit of fairness, limits and pause."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="lanes")
    queue = models.CharField(max_length=128, validators=[valid_name])
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=WEIGHT,
        help_text="Share of what its tenant gets, relative to its other queues.",
    )
    max_running = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs running at once. Empty for no limit."
    )
    is_paused = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant_id", "queue"]
        constraints = [models.UniqueConstraint(fields=["tenant", "queue"], name="lane_once")]

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.queue}"


class Job(models.Model):
    """One request to run a task. `payload` and `result` are the JSON bytes that were sent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False
    )
    lane = models.ForeignKey(Lane, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    queue = models.CharField(max_length=128)
    task = models.CharField(max_length=128)
    status = models.CharField(max_length=9, choices=[(s.value, s.value) for s in Status])
    priority = models.SmallIntegerField(default=0)
    payload = models.BinaryField()
    has_args = models.BooleanField(
        default=False, help_text='The payload is {"args": [...], "kwargs": {...}} of a Python call.'
    )
    result = models.BinaryField(null=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    max_retries = models.PositiveSmallIntegerField()
    lost_count = models.PositiveSmallIntegerField(default=0)
    timeout_seconds = models.FloatField(null=True)
    fence = models.BigIntegerField(default=0)
    worker = models.CharField(max_length=64, blank=True, default="")
    cancel_requested = models.BooleanField(default=False)
    error_type = models.CharField(max_length=200, blank=True, default="")
    error_message = models.TextField(blank=True, default="")
    reason = models.CharField(
        max_length=20, blank=True, default="", choices=[(r.value, r.value) for r in Reason]
    )
    tags = models.JSONField(default=list)
    idempotency_key = models.CharField(max_length=255, null=True)
    request_hash = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField()
    run_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        permissions = [
            ("operate_job", "Can cancel, retry, redrive and discard jobs"),
            ("view_payload", "Can read payloads and results"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="job_idempotency",
            )
        ]
        indexes = [
            # The claim: a lane's ready jobs in the order they run.
            models.Index(
                "lane",
                models.F("priority").desc(),
                "run_at",
                "id",
                condition=Q(status=Status.PENDING),
                name="job_ready",
            ),
            # Limits and the reaper: small, holds only what runs now.
            models.Index(
                fields=["tenant", "lane"], condition=Q(status=Status.RUNNING), name="job_running"
            ),
            # The promoter: what becomes ready by time.
            models.Index(
                fields=["run_at"],
                condition=Q(status__in=[Status.SCHEDULED, Status.FAILED]),
                name="job_due",
            ),
            # Lists. The second serves the statuses that a healthy job never passes through, so
            # that the way PENDING, RUNNING, DONE does not pay for it.
            models.Index("tenant", models.F("id").desc(), name="job_of_tenant"),
            models.Index(
                "tenant",
                "status",
                models.F("id").desc(),
                condition=Q(status__in=list(UNUSUAL)),
                name="job_unusual",
            ),
            # Dead letters of all tenants, newest first; written only when a job dies.
            models.Index(models.F("id").desc(), condition=Q(status=Status.DLQ), name="job_dead"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class DeadLetters(models.Manager["DeadLetter"]):
    """The jobs that used up their attempts."""

    def get_queryset(self) -> models.QuerySet["DeadLetter"]:
        """Jobs in the DLQ, of all tenants."""
        return super().get_queryset().filter(status=Status.DLQ)


class DeadLetter(Job):
    """A job that used up its attempts, as a list of its own. Same rows, same rights as `Job`."""

    objects: ClassVar[DeadLetters] = DeadLetters()

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "dead letter"


class JobTag(models.Model):
    """A tag of a job, for finding jobs by tag."""

    job = models.ForeignKey(Job, on_delete=models.DO_NOTHING, db_constraint=False)
    tenant_id = models.BigIntegerField()
    tag = models.CharField(max_length=128)

    class Meta:
        indexes = [models.Index("tenant_id", "tag", models.F("job").desc(), name="job_by_tag")]

    def __str__(self) -> str:
        return self.tag


class Attempt(models.Model):
    """One run of a job that failed or was lost."""

    job = models.ForeignKey(
        Job, on_delete=models.DO_NOTHING, db_constraint=False, related_name="attempts"
    )
    number = models.PositiveSmallIntegerField()
    fence = models.BigIntegerField()
    outcome = models.CharField(max_length=10, choices=[(o.value, o.value) for o in AttemptOutcome])
    error_type = models.CharField(max_length=200, blank=True, default="")
    message = models.TextField(blank=True, default="")
    traceback = models.TextField(blank=True, default="")
    worker = models.CharField(max_length=64)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField()

    class Meta:
        ordering = ["job_id", "fence"]
        constraints = [models.UniqueConstraint(fields=["job", "fence"], name="attempt_once")]

    def __str__(self) -> str:
        return f"{self.job_id}#{self.number}"


class LaneMinute(models.Model):
    """What ended in one lane in one minute, counted in the transaction that ended it.

    `shard` keeps processes that finish jobs of one lane off each other's row. The sums give exact
    totals per status without counting finished jobs.
    """

    lane_id = models.BigIntegerField()
    tenant_id = models.BigIntegerField()
    minute = models.DateTimeField()
    shard = models.PositiveSmallIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    dead = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    started = models.PositiveIntegerField(default=0)
    wait_seconds = models.FloatField(default=0, help_text="Sum over the started attempts.")
    max_wait_seconds = models.FloatField(default=0)
    run_seconds = models.FloatField(default=0, help_text="Sum over the ended attempts.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lane_id", "minute", "shard"], name="lane_minute_once")
        ]
        indexes = [models.Index(fields=["tenant_id", "minute"], name="lane_minute_of_tenant")]

    def __str__(self) -> str:
        return f"{self.lane_id}@{self.minute}"


class Worker(models.Model):
    """A worker process that is, or was lately, alive. One row per incarnation, never reused."""

    id = models.CharField(primary_key=True, max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = models.JSONField(default=list, help_text="Empty for every queue.")
    tasks = models.JSONField(default=list)
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
