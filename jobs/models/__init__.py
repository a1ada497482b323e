"""The domain's tables. Rows of jobs, and of what belongs to them, are written by the store alone.

Hot tables carry plain ids of tenants and lanes instead of foreign keys: a database foreign key
costs a share lock on a shared parent for every insert.
"""

from jobs.models.jobs import Attempt, DeadLetter, Job, JobTag, LaneMinute, LanePeriod, WaitMinute
from jobs.models.log_lines import LogLine
from jobs.models.operation import AuditAction, AuditEntry, Chore, Operation, Worker
from jobs.models.saved_view import SavedView
from jobs.models.tenant_keys import TenantKey
from jobs.models.tenants import (
    NAME_PATTERN,
    START_LIMITS,
    ApiKey,
    Lane,
    Limits,
    Line,
    Membership,
    Role,
    StartClock,
    SubmissionSecond,
    TaskLimit,
    Tenant,
    valid_name,
    valid_slug,
)

__all__ = [
    "NAME_PATTERN",
    "START_LIMITS",
    "ApiKey",
    "Attempt",
    "AuditAction",
    "AuditEntry",
    "Chore",
    "DeadLetter",
    "Job",
    "JobTag",
    "Lane",
    "LaneMinute",
    "LanePeriod",
    "Limits",
    "Line",
    "LogLine",
    "Membership",
    "Operation",
    "Role",
    "SavedView",
    "StartClock",
    "SubmissionSecond",
    "TaskLimit",
    "Tenant",
    "TenantKey",
    "WaitMinute",
    "Worker",
    "valid_name",
    "valid_slug",
]
