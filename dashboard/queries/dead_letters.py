"""Dead letters, grouped by what went wrong."""

import uuid
from collections.abc import Collection
from typing import Any

from django.db.models import Count, F, Min, QuerySet, Window
from django.db.models import Max as Latest
from django.db.models.functions import Now, RowNumber

from dashboard.scope import Scope
from jobs.lookup import in_status
from jobs.models import Job
from jobs.statuses import Status

GROUPED = 10_000
"""So many of the newest dead letters are grouped, and at most so many are moved by one click."""

LISTED = 50


def dead_letters(scope: Scope, task: str = "", error_type: str | None = None) -> QuerySet[Job]:
    """The dead letters in scope, newest first; of one group if told."""
    found = in_status(scope.jobs(), Status.DLQ)
    if task:
        found = found.filter(task=task)
    if error_type is not None:
        found = found.filter(error_type=error_type)
    return found.order_by("-pk")


def groups(scope: Scope) -> list[Any]:
    """One dead letter, the newest, of each task and error type, with the group's figures on it."""
    newest = dead_letters(scope).values("pk")[:GROUPED]
    group = [F("task"), F("error_type")]
    found = (
        Job.objects.filter(pk__in=newest)
        .only("task", "error_type", "error_message", "reason")
        .annotate(
            now=Now(),
            rank=Window(RowNumber(), partition_by=group, order_by=F("id").desc()),
            total=Window(Count("id"), partition_by=group),
            first_at=Window(Min("finished_at"), partition_by=group),
            last_at=Window(Latest("finished_at"), partition_by=group),
        )
        .filter(rank=1)
    )
    return sorted(found, key=lambda job: (-job.total, job.task, job.error_type))


def listed(scope: Scope, task: str = "", error_type: str | None = None) -> list[Any]:
    """The newest dead letters, each with `now`."""
    found = dead_letters(scope, task, error_type).defer("payload", "result")
    return list(found.annotate(now=Now())[:LISTED])


def ids_of_group(scope: Scope, task: str, error_type: str | None) -> list[uuid.UUID]:
    """The ids of a group's dead letters, at most `GROUPED` of them."""
    return list(dead_letters(scope, task, error_type).values_list("pk", flat=True)[:GROUPED])


def by_tenant(scope: Scope, ids: Collection[uuid.UUID]) -> dict[int, list[uuid.UUID]]:
    """Those of the ids that are dead letters in scope, by tenant."""
    found: dict[int, list[uuid.UUID]] = {}
    rows = dead_letters(scope).filter(pk__in=ids).values_list("tenant_id", "pk")
    for tenant_id, job_id in rows:
        found.setdefault(tenant_id, []).append(job_id)
    return found
