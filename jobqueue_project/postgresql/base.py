"""Django's PostgreSQL, but a connection is asked whether it is well only if there is reason to.

Django's own check of a kept connection is a query before the first one of each request. A server
that has gone closes its end, and that shows without asking.
"""

import select

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL."""

    def close_if_health_check_failed(self) -> None:
        """Close the connection if it is of no use any more, so that the next query opens one."""
        if self._is_quiet():
            self.health_check_done = True
        super().close_if_health_check_failed()

    def _is_quiet(self) -> bool:
        """Whether it is idle and nothing came in: the end of a connection is something."""
        if self.connection is None:
            return False
        raw = self.connection.pgconn
        incoming = select.poll()
        incoming.register(raw.socket, select.POLLIN)
        return raw.transaction_status == TransactionStatus.IDLE and not incoming.poll(0)
