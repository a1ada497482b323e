"""The audit log: who did what to which tenant, and what was before. Nothing here writes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_safe

from dashboard.pages import live_page
from dashboard.queries.rows import page_of
from dashboard.scope import PageScope, scope_of
from jobs.lookup import newest
from jobs.models import AuditEntry
from jobs.operations import details_of

OFFERED = 50
OFFERED_FROM = 10_000
"""The actions to choose from are those of the newest entries."""


class Change(NamedTuple):
    """A value before and after; `is_same` where it stayed."""

    name: str
    before: str
    after: str
    is_same: bool


class Entry(NamedTuple):
    """An entry as it is read: what changed, and what else is known."""

    row: Any
    changes: list[Change]
    facts: list[tuple[str, str]]


@require_safe
@login_required
def audit(request: HttpRequest) -> HttpResponse:
    """The entries of the tenants whose log the user may read, newest first, by `who`, `action`,
    `from` and `to`."""
    scope = scope_of(request)
    if not scope.audited:
        raise PermissionDenied("This needs the role of an admin.")
    visible = _visible(scope)
    asked = {name: request.GET.get(name, "").strip() for name in ("who", "action", "from", "to")}
    wanted, wrong = _wanted(asked)

    def figures() -> Mapping[str, Any]:
        found = page_of(visible.annotate(now=Now()), request.GET.get("before", ""), **wanted)
        return {"page": found, "entries": [_entry(row, scope) for row in found.rows]}

    return live_page(
        request,
        scope,
        "audit",
        {"audit": figures},
        actions=_actions(visible),
        asked=asked,
        is_narrowed=bool(wanted),
        wrong=wrong,
    )


def _visible(scope: PageScope) -> QuerySet[AuditEntry]:
    """Those of the tenants in scope; for who reads the log of all, also those of no tenant."""
    own = Q(tenant_id__in=scope.audited & set(scope.ids))
    is_of_all = scope.is_operator and scope.chosen is None
    return AuditEntry.objects.filter(own | Q(tenant_id=None) if is_of_all else own)


def _wanted(asked: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The conditions that an address asks for, and what is wrong with it, in words.

    Times are rewritten as the form's fields have them.
    """
    wanted: dict[str, Any] = {}
    wrong = []
    if asked["who"]:
        wanted["actor__icontains"] = asked["who"]
    if asked["action"]:
        wanted["action"] = asked["action"]
    for name, condition in (("from", "at__gte"), ("to", "at__lte")):
        if text := asked[name]:
            moment = _moment(text)
            if moment is None:
                wrong.append(f"“{text}” is no time; write 2026-01-31 or 2026-01-31T18:00 (UTC).")
            else:
                wanted[condition] = moment
                asked[name] = f"{moment:%Y-%m-%dT%H:%M}"
    return wanted, wrong


def _moment(text: str) -> datetime | None:
    """A time, or the beginning of a day, in UTC; None for what is neither."""
    try:
        moment = parse_datetime(text) or parse_datetime(f"{text}T00:00")
        if moment and moment.tzinfo:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment and moment.replace(tzinfo=UTC)


def _actions(visible: QuerySet[AuditEntry]) -> list[str]:
    recent = newest(visible, OFFERED_FROM).order_by("action")
    return list(recent.values_list("action", flat=True).distinct()[:OFFERED])


def _entry(row: AuditEntry, scope: PageScope) -> Entry:
    details = details_of(row, may_read=scope.reads(row.tenant_id))
    before, after = details.pop("before", None), details.pop("after", None)
    facts = [(name.replace("_", " "), _text(name, value)) for name, value in details.items()]
    return Entry(row, _changes(before or {}, after or {}), facts)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    return [
        Change(
            name.replace("_", " "),
            _text(name, before.get(name)) if before else "",
            _text(name, after.get(name)) if after else "",
            is_same=before.get(name) == after.get(name),
        )
        for name in sorted({*before, *after})
    ]


def _text(name: str, value: Any) -> str:
    """A value of the log as people read it. A key of no queues is one of all."""
    if value is None:
        return "none"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or ("all" if name == "queues" else "none")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
