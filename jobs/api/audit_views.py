"""The tenant's audit log: who did what to it, and from where."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api.pages import page_of_rows, read_page
from jobs.api.schema import INSTANT, NAME, TEXT, described, list_parameters, nullable, page_schema
from jobs.api.schema import record as schema_of
from jobs.api.view import TenantView
from jobs.filters import Reader, name
from jobs.instants import instant
from jobs.keys import Scope
from jobs.models import AuditEntry

FILTERS: dict[str, Reader] = {"action": name}

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
        parameters=list_parameters(FILTERS),
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
