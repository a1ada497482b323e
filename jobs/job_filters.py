"""Filters of jobs: each read strictly from text, and the jobs that match.

A time narrows by the id as well, which begins with one: so the search is a walk along an index.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from jobs.errors import InvalidInput
from jobs.fields import moment
from jobs.lookup import in_status
from jobs.models import NAME_PATTERN, Job, JobTag, Tenant
from jobs.statuses import Status

CLOCKS_AGREE_WITHIN = timedelta(days=1)
"""Ids carry the time of the web process that made them, `created_at` that of the database."""

_name = re.compile(rf"\A{NAME_PATTERN}\Z")

Reader = Callable[[str], Any]


def read_parameter(name: str, value: str, reader: Reader) -> Any:
    """The parameter's value. Raises `InvalidInput` that names it."""
    try:
        return reader(value)
    except InvalidInput as error:
        raise InvalidInput(f"{name} {error.detail}", code=error.field_code) from None


def name(value: str) -> str:
    """The name of a queue, task or tag."""
    if not _name.match(value):
        raise InvalidInput("is not a name.", code="invalid_name")
    return value


def plain(value: str) -> str:
    """Any text that a database can look for."""
    if len(value) > 200 or not value.isprintable():
        raise InvalidInput("must be up to 200 printable characters.", code="invalid_parameter")
    return value


def statuses(value: str) -> list[Status]:
    """One status or several, separated by commas."""
    try:
        return [Status(one) for one in value.split(",")]
    except ValueError:
        raise InvalidInput(f"is one of {', '.join(Status)}.", code="invalid_choice") from None


JOB_FILTERS: Mapping[str, Reader] = {
    "status": statuses,
    "queue": name,
    "task": name,
    "tag": name,
    "created_after": moment,
    "created_before": moment,
}
DEAD_LETTER_FILTERS: Mapping[str, Reader] = {"queue": name, "task": name, "error_type": plain}


def filtered(
    jobs: QuerySet[Job], tenant: Tenant | None, filters: Mapping[str, Any]
) -> QuerySet[Job]:
    """The jobs that match every filter; `tenant` is whose they are, None for anybody's."""
    for key, value in filters.items():
        if key == "status":
            jobs = in_status(jobs, *value)
        else:
            jobs = jobs.filter(**_condition(tenant, key, value))
    return jobs


def _condition(tenant: Tenant | None, key: str, value: Any) -> dict[str, Any]:
    match key:
        case "tag":
            tagged = JobTag.objects.filter(tag=value)
            if tenant is not None:
                tagged = tagged.filter(tenant_id=tenant.pk)
            return {"pk__in": tagged.values("job_id")}
        case "created_after":
            return {"created_at__gt": value, "pk__gt": _first_id(value, -CLOCKS_AGREE_WITHIN)}
        case "created_before":
            return {"created_at__lt": value, "pk__lt": _first_id(value, CLOCKS_AGREE_WITHIN)}
        case _:
            return {key: value}


def _first_id(moment: datetime, away: timedelta) -> uuid.UUID:
    """The smallest UUIDv7 so far from that moment: a time bounds a walk along the primary key.

    Counted in numbers, because the sum may be a time that a `datetime` cannot hold.
    """
    milliseconds = int((moment.timestamp() + away.total_seconds()) * 1_000)
    return uuid.UUID(int=max(0, min(milliseconds, 2**48 - 1)) << 80)
