"""A kept connection to PostgreSQL is asked whether it is well only if there is reason to.

Django's own check is a query before the first one of each request. A server that has gone closes
its end, and that shows without asking. Under load not even that is looked for each time: every look
gives the thread's turn away.
"""

import select
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest, HttpResponse
from psycopg import Connection
from psycopg.pq import TransactionStatus

BELIEVED_SECONDS = 0.2
"""Who was quiet so long ago is taken to be: if the server went since, one request for each kept
connection may fail, with a 503 from the API. The next one on it connects anew."""
_looked_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()


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
    if kept.connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    now = time.monotonic()
    if now < _looked_at.get(kept.connection, 0) + BELIEVED_SECONDS:
        return True
    _looked_at[kept.connection] = now
    incoming = select.poll()
    incoming.register(kept.connection.pgconn.socket, select.POLLIN)
    return not incoming.poll(0)
