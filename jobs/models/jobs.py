"""Jobs, their tags and attempts, and what is counted of them."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q

from jobs.encryption import Owner, open_fields, why_unreadable
from jobs.models.tenants import Lane, Line, Tenant
from jobs.statuses import UNUSUAL, AttemptOutcome, Reason, Status
from jobs.uuid7 import uuid7


class Job(models.Model):
    """One request to run a task. `payload` and `result` are the JSON bytes that were sent.

    What is encrypted at rest is opened when a row is read (`encryption`).
    """

    ENCRYPTED: ClassVar[Mapping[str, str]] = {
        name: name for name in ("payload", "result", "error_message")
    }

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False
    )
    lane = models.ForeignKey(Lane, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    line = models.ForeignKey(Line, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False)
    queue = models.CharField(max_length=128)
    task = models.CharField(max_length=128)
    status = models.CharField(max_length=9, choices=[(s.value, s.value) for s in Status])
    priority = models.SmallIntegerField(default=0)
    worker_tags = models.CharField(
        max_length=1_000,
        blank=True,
        default="",
        help_text="Tags that a worker must have to run it, sorted, with commas between them.",
    )
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
            # The claim: a line's ready jobs in the order they run. The larger priority first, and
            # yet all ascending, so that a claim can begin behind a given job.
            models.Index(
                "lane",
                "line",
                models.F("priority") * -1,
                "run_at",
                "id",
                condition=Q(status=Status.PENDING),
                name="job_ready",
            ),
            # Limits and the reaper: small, holds only what runs now.
            models.Index(
                fields=["tenant", "lane", "line"],
                condition=Q(status=Status.RUNNING),
                name="job_running",
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
            # A scrape's counts by lane, which read no rows. With the status first SQLite would
            # take it for lists of one.
            models.Index(
                fields=["lane", "status"],
                condition=Q(status__in=list(UNUSUAL)),
                name="job_unusual_of_lane",
            ),
            # Dead letters of all tenants, newest first; written only when a job dies.
            models.Index(models.F("id").desc(), condition=Q(status=Status.DLQ), name="job_dead"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **mode: Any
    ) -> Self:
        """The job of a row, its values opened."""
        job = super().from_db(db, field_names, values, **mode)
        open_fields(job, cls.ENCRYPTED)
        return job

    @property
    def owner(self) -> Owner:
        """Whose its values are."""
        return Owner(self.tenant_id, self.pk)

    @property
    def unreadable(self) -> str:
        """The code of why what it carries cannot be read, as its key is gone; usually empty."""
        return why_unreadable(self, self.ENCRYPTED)


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
    """One run of a job that failed or was lost. What is encrypted is opened when it is read."""

    ENCRYPTED: ClassVar[Mapping[str, str]] = {
        "message": "error_message",
        "traceback": "traceback",
    }

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

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **mode: Any
    ) -> Self:
        """The attempt of a row, its texts opened."""
        attempt = super().from_db(db, field_names, values, **mode)
        open_fields(attempt, cls.ENCRYPTED)
        return attempt

    @property
    def owner(self) -> Owner:
        """Whose its texts are."""
        return Owner(None, self.job_id, str(self.fence))


class Counts(models.Model):
    """What ended in a time; `purged` jobs were deleted in it."""

    done = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    dead = models.PositiveBigIntegerField(default=0)
    cancelled = models.PositiveBigIntegerField(default=0)
    started = models.PositiveBigIntegerField(default=0)
    wait_seconds = models.FloatField(default=0, help_text="Sum over the started attempts.")
    max_wait_seconds = models.FloatField(default=0)
    run_seconds = models.FloatField(default=0, help_text="Sum over the ended attempts.")
    purged = models.PositiveBigIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True


class LaneMinute(Counts):
    """What ended in one lane in one minute, counted in the transaction that ended it.

    `shard` keeps processes that finish jobs of one lane off each other's row. What is older than
    an hour or two is no longer here but in the sums of `LanePeriod`. Both give exact totals per
    status without counting finished jobs: what was ever accepted is what there is and was purged.
    """

    lane_id = models.BigIntegerField()
    tenant_id = models.BigIntegerField()
    minute = models.DateTimeField()
    shard = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lane_id", "minute", "shard"], name="lane_minute_once")
        ]
        indexes = [models.Index(fields=["tenant_id", "minute"], name="lane_minute_of_tenant")]

    def __str__(self) -> str:
        return f"{self.lane_id}@{self.minute}"


class LanePeriod(Counts):
    """Sums of former minutes: for each lane, tenant and everybody, of each length of time.

    `length` is in seconds, 0 for all of time, `minute` its first. A lane of 0 stands for all lanes
    of the tenant, a tenant of 0 for everybody. What is in one length is in all of them
    (`jobs/store/minutes.py`), but for those that are too old to be shown.
    """

    tenant_id = models.BigIntegerField()
    length = models.PositiveIntegerField()
    lane_id = models.BigIntegerField()
    minute = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "length", "lane_id", "minute"], name="lane_period_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.lane_id}@{self.minute}+{self.length}"


class WaitMinute(models.Model):
    """How many attempts of a tenant that ended in a minute had waited for about so long.

    `bucket` is a length of time (`jobs/store/waits.py`); the tenant 0 stands for everybody. Old
    minutes are added up into longer periods, each of which has a shard of its own. It is
    statistics: what a process had not written when it was killed is missing.
    """

    tenant_id = models.BigIntegerField()
    minute = models.DateTimeField()
    shard = models.PositiveSmallIntegerField(default=0)
    bucket = models.PositiveSmallIntegerField()
    attempts = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "minute", "shard", "bucket"], name="wait_minute_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id}@{self.minute}"
