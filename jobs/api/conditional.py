"""A job that is fetched again: conditional GET (RFC 9110) and waiting for news (RFC 7240).

An entity tag has two halves: of the whole representation, which makes it strong, and of all but the
lease, which a running job extends every few seconds. A wait is over when the latter changes.
"""

import hashlib
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.request import parse_http_list

from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.held import hold_until
from jobs.exact_json import dumps
from jobs.models import Job, Tenant
from jobs.statuses import TERMINAL
from jobs.watch import Watch

MAX_WAIT_SECONDS = 60
WATCH_SECONDS = 0.25
_SECONDS = re.compile(r'\s*("?)(\d{1,9})\1\s*(?:;.*)?', re.ASCII | re.DOTALL)

_MARK = (
    *("status", "attempt", "fence", "lost_count", "cancel_requested", "priority"),
    *("run_at", "started_at", "finished_at"),
)
"""Of what belongs to a representation, the least that tells a change of any of it but the lease."""


class Tag(NamedTuple):
    """The entity tag of a representation."""

    state: str
    whole: str

    def __str__(self) -> str:
        return f'"{self.state}-{self.whole}"'


def tag_of(body: Mapping[str, Any]) -> Tag:
    """The tag of a job's representation."""
    return Tag(_digest({**body, "lease_expires_at": None}), _digest(body))


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(dumps(body)).hexdigest()[:24]


def answer(request: Request, tenant: Tenant, job: Job, body: Mapping[str, Any]) -> Response:
    """The job, or 304 if the client has it: now, or under ASGI after the wait it prefers.

    Who names a tag waits for what differs from it, who names none for the job's end; nobody waits
    for a job that has ended.
    """
    tag = tag_of(body)
    known = [
        one.removeprefix("W/") for one in parse_etags(request.headers.get("If-None-Match", ""))
    ]
    headers = {"ETag": str(tag)}
    seconds = preferred_wait(request)
    if seconds is not None:
        has_news = job.status in TERMINAL or (known and not _name_state(known, tag))
        change = partial(job_watch.changed, job.pk, tuple(getattr(job, name) for name in _MARK))
        if has_news or hold_until(request, tenant, change, seconds=seconds):
            headers["Preference-Applied"] = f"wait={seconds}"
    if "*" in known or str(tag) in known:
        return Response(status=304, headers=headers)
    return Response(body, headers=headers)


def preferred_wait(request: Request) -> int | None:
    """How many seconds the client would wait, bounded; None if it does not say, or not so."""
    for preference in parse_http_list(request.headers.get("Prefer", "")):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait":  # of those of a name the first counts
            found = _SECONDS.fullmatch(value)
            return min(int(found[2]), MAX_WAIT_SECONDS) if found else None
    return None


def _name_state(known: Iterable[str], tag: Tag) -> bool:
    """Whether one of the tags is of the present state, whatever its lease was."""
    return any(one == "*" or one.startswith(f'"{tag.state}-') for one in known)


def _read_marks(job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, object]:
    rows = Job.objects.filter(pk__in=job_ids).values_list("pk", *_MARK)
    return {job_id: tuple(mark) for job_id, *mark in rows}


job_watch: Watch[uuid.UUID] = Watch("job-watch", _read_marks, seconds=WATCH_SECONDS)
"""Watches the jobs that requests to this process wait for."""
