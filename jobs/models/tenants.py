"""Who owns jobs, and the limits: tenants with members, keys, lanes, lines and limits of tasks."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

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
MAX_REASON = 200
WEIGHT = [MinValueValidator(1), MaxValueValidator(1_000)]
AT_LEAST_ONE = [MinValueValidator(1)]

START_LIMITS = ("max_running", "starts_per_minute", "start_burst")
"""The columns of `Limits`: what tenants, lanes and tasks can all be limited by."""


class Limits(models.Model):
    """How much of something may run at once, and how often it may start; null is no limit.

    Starts are paced by GCRA, the "generic cell rate algorithm" (ITU-T I.371): in any t minutes at
    most `start_burst + starts_per_minute * t` of them.
    """

    max_running = models.PositiveIntegerField(
        null=True, blank=True, help_text="Jobs running at once. Empty for no limit."
    )
    starts_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=AT_LEAST_ONE,
        help_text="Jobs started per minute, evenly. Empty for no limit.",
    )
    start_burst = models.PositiveIntegerField(
        default=1, validators=AT_LEAST_ONE, help_text="Of these, how many may start at one moment."
    )
    ceilings = models.JSONField(
        null=True,
        editable=False,
        help_text="What the operator had set of those limits that the tenant has set itself.",
    )

    class Meta:
        abstract = True


class Tenant(Limits):
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
    keep_finished_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=AT_LEAST_ONE,
        help_text="Days that DONE and CANCELLED jobs are kept. Empty for those of the settings.",
    )
    keep_dead_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=AT_LEAST_ONE,
        help_text="Days that dead letters are kept. Empty for those of the settings.",
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        through="Membership",
        related_name="tenants",
        help_text="Users who see this tenant on the dashboard.",
    )
    # Less than 0: that key was erased, and no job is accepted.
    key_id = models.BigIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="The `TenantKey` that encrypts its new values; 0: none, they are plain.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class Role(models.TextChoices):
    """What a member may do for the tenant; each role may do what the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Membership(models.Model):
    """A person's place in a tenant. What it allows is decided in `jobs.access`."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(
        max_length=8,
        choices=Role.choices,
        default=Role.VIEWER,
        help_text=(
            "Viewers look; operators also submit, cancel, retry, discard and pause; "
            "admins also change keys, limits and roles."
        ),
    )
    sees_payloads = models.BooleanField(
        default=False, help_text="May read payloads and results, whatever the role."
    )

    class Meta:
        default_permissions = ()
        ordering = ["tenant_id", "user_id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(models.Model):
    """A Bearer key of a tenant. The secret is shown once; only its keyed hash is kept."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    last_four = models.CharField(max_length=4, blank=True, default="", editable=False)
    scopes = models.JSONField(default=list)
    queues = models.JSONField(
        default=list, blank=True, help_text="The only queues it may use. Empty for every queue."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True, default="", editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    successor = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"jq_{self.prefix}_…"


class Lane(Limits):
    """One tenant's part of one queue: the unit of fairness, limits and pause."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="lanes")
    queue = models.CharField(max_length=128, validators=[valid_name])
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=WEIGHT,
        help_text="Share of what its tenant gets, relative to its other queues.",
    )
    is_paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, editable=False)
    paused_by = models.CharField(
        max_length=150, blank=True, default="", db_default="", editable=False
    )
    pause_reason = models.CharField(
        max_length=MAX_REASON,
        blank=True,
        default="",
        db_default="",
        help_text="Why it is paused; everybody who sees the queue reads it.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant_id", "queue"]
        constraints = [models.UniqueConstraint(fields=["tenant", "queue"], name="lane_once")]

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.queue}"


class Line(models.Model):
    """The jobs of a lane that the same workers can run: those of one task, the same tags, one key.

    What the claim takes from. A worker passes over lines whose task it does not know, whose tags it
    does not have, whose task is at its limit, or whose key it cannot open, whatever the number of
    jobs in them. `key_id` is the `TenantKey` of their payloads; 0: they are not encrypted.
    """

    lane = models.ForeignKey(Lane, on_delete=models.CASCADE, related_name="lines", db_index=False)
    task = models.CharField(max_length=128)
    worker_tags = models.CharField(max_length=1_000, blank=True, default="")
    key_id = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["lane", "task", "worker_tags", "key_id"], name="line_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.lane_id}/{self.task}"


class TaskLimit(Limits):
    """Limits of a task: for one tenant, or for all of them together where `tenant` is null."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="task_limits"
    )
    task = models.CharField(max_length=128, validators=[valid_name])

    class Meta:
        ordering = ["task", "tenant_id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "task"], name="task_limit_once"),
            models.UniqueConstraint(
                fields=["task"], condition=Q(tenant__isnull=True), name="task_limit_of_all_once"
            ),
        ]

    def __str__(self) -> str:
        return self.task


class StartClock(models.Model):
    """When the starts of a tenant (T), lane (L) or task limit (K) that there were are paid off.

    The "theoretical arrival time" of GCRA, in seconds since 1970 by the database's clock.
    """

    holder = models.CharField(max_length=24, primary_key=True)
    paid_off_at = models.FloatField()

    def __str__(self) -> str:
        return self.holder


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
