"""What attempts have logged."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

from django.db import models

from jobs.encryption import Owner, open_fields
from jobs.models.jobs import Job


class LogLine(models.Model):
    """One line that an attempt logged; `number` counts those of the attempt, from 1.

    `at` is by the clock of the machine that logged it: it is shown, and nothing is decided by it.
    A message that is encrypted is opened when it is read.
    """

    ENCRYPTED: ClassVar[Mapping[str, str]] = {"message": "log"}

    job = models.ForeignKey(
        Job,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="log_lines",
    )
    attempt = models.PositiveSmallIntegerField()
    fence = models.BigIntegerField()
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    level = models.PositiveSmallIntegerField(help_text="As in Python's logging: 20 is INFO.")
    logger = models.CharField(max_length=100, blank=True, default="")
    message = models.TextField()

    class Meta:
        ordering = ["job_id", "fence", "number"]
        constraints = [
            models.UniqueConstraint(fields=["job", "fence", "number"], name="log_line_once")
        ]

    def __str__(self) -> str:
        return f"{self.job_id}#{self.attempt}:{self.number}"

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **mode: Any
    ) -> Self:
        """The line of a row, its message opened."""
        line = super().from_db(db, field_names, values, **mode)
        open_fields(line, cls.ENCRYPTED)
        return line

    @property
    def owner(self) -> Owner:
        """Whose its message is."""
        return Owner(None, self.job_id, f"{self.fence}/{self.number}")
