"""A kept connection to PostgreSQL is asked whether it is well only if there is reason to.

Django's own check is a query before the first one of each request. A server that has gone closes
its end, and that shows without asking.
"""

import select
from collections.abc import Callable

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponse
from psycopg.pq import TransactionStatus


def believe_quiet(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
    """Middleware: this thread's connections that are quiet need no check in this request."""

    def believing(request: HttpRequest) -> HttpResponse:
        for kept in connections.all(initialized_only=True):
            if kept.vendor == "postgresql" and kept.connection and _is_quiet(kept):
                kept.health_check_done = True  # type: ignore[attr-defined]
        return answer(request)

    return believing


def _is_quiet(kept: BaseDatabaseWrapper) -> bool:
    """Whether it is idle and nothing came in: the end of a connection is something."""
    raw = kept.connection.pgconn
    incoming = select.poll()
    incoming.register(raw.socket, select.POLLIN)
    return raw.transaction_status == TransactionStatus.IDLE and not incoming.poll(0)
