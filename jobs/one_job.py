"""One job by its id, past the ORM: that takes longer to ask than the database to answer."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from jobs.models import Job
from jobs.store.dialect import fetch, is_postgresql

_FIELDS = [field.attname for field in Job._meta.concrete_fields]
_TAGS = _FIELDS.index("tags")
_CHOSEN = ", ".join(f"{name}::text" if name == "tags" else name for name in _FIELDS)
_JOB = f"SELECT {_CHOSEN} FROM jobs_job WHERE id = %(id)s AND tenant_id = %(tenant_id)s"


def find_job(tenant_id: int, job_id: uuid.UUID) -> Job | None:
    """The job of that id, if it is the tenant's."""
    if not is_postgresql():  # SQLite answers times and ids as texts: reading them is the ORM's part
        return Job.objects.filter(pk=job_id, tenant_id=tenant_id).first()
    rows = fetch(_JOB, {"id": job_id, "tenant_id": tenant_id})
    return _loaded(rows[0]) if rows else None


def _loaded(row: Sequence[Any]) -> Job:
    values = list(row)
    values[_TAGS] = json.loads(values[_TAGS])
    return Job.from_db("default", _FIELDS, values)
