"""The tenant's audit log: who did what to it, and from where."""

from difflib import get_close_matches
from typing import Any, get_args

from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.pages import page_of_rows, read_page
from jobs.api.schema import (
    INSTANT,
    NAME,
    TEXT,
    described,
    list_parameters,
    nullable,
    page_schema,
    parameter,
)
from jobs.api.schema import record as schema_of
from jobs.api.view import TenantView
from jobs.errors import InvalidInput
from jobs.filters import Reader
from jobs.instants import instant
from jobs.keys import Scope
from jobs.models import AuditAction, AuditEntry

ACTIONS: tuple[str, ...] = get_args(AuditAction)


def _action(value: str) -> str:
    if value not in ACTIONS:
        near = get_close_matches(value[:50], ACTIONS, n=1, cutoff=0)
        raise InvalidInput(
            f"is one of {len(ACTIONS)} words, of which the nearest is {near[0]}; "
            "the API's description has all of them.",
            code="invalid_choice",
        )
    return value


FILTERS: dict[str, Reader] = {"action": _action}


ENTRY = schema_of(
    {
        "at": INSTANT,
        "actor": TEXT,
        "address": nullable("string"),
        "action": NAME,
        "target": TEXT,
        "details": {"type": "object"},
    }
)


class Audit(TenantView):
    """`/audit`"""

    scopes = {"GET": Scope.ADMIN}
    query = None
    is_of_whole_tenant = True

    @described(
        "list_audit_entries",
        "Who did what, newest first",
        answers={200: page_schema(ENTRY)},
        parameters=[
            parameter("action", {"type": "string", "enum": list(ACTIONS)}),
            *list_parameters({}),
        ],
        problems=("queue_not_allowed",),
    )
    def get(self, request: Request) -> Response:
        """Entries are never changed or removed.

        `actor` is `key:` with a key's id, `user:` with the name of somebody on the pages, or
        `command:`. `details` has what there is of `before`, `after`, `filter`, `count` and `jobs`.
        """
        page = read_page(request, self.tenant, FILTERS)
        entries = AuditEntry.objects.filter(tenant_id=self.tenant.pk, **page.filters)
        return Response(page_of_rows(request, page, entries, _as_json))


def _as_json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": instant(entry.at),
        "actor": entry.actor,
        "address": entry.address,
        "action": entry.action,
        "target": entry.target,
        "details": entry.details,
    }
