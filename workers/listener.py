"""The listener: notices that there may be work. Polling stays the truth; this makes it quick."""

import time
from collections.abc import Callable

from django.db import connection

from jobs.store.dialect import is_postgresql
from jobs.wakeup import CHANNEL
from workers.role import Role

LISTEN_SECONDS = 1.0
LOOK_SECONDS = 0.008
"""How often a change of the SQLite file is looked for."""

_LISTEN = f"LISTEN {CHANNEL}"
_VERSION = "PRAGMA data_version"


class Listener(Role):
    """On PostgreSQL waits for notifications; on SQLite sees that another connection committed."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__("listener")
        self._heard = heard
        self._connection: object = None
        self._version = 0

    def tick(self) -> float:
        """Listen for a moment."""
        connection.ensure_connection()
        with connection.wrap_database_errors:
            if is_postgresql():
                self._listen()
            else:
                self._watch()
        return 0

    def _listen(self) -> None:
        raw = connection.connection
        if raw is not self._connection:
            raw.execute(_LISTEN)
            self._connection = raw
            self._heard()
        for _ in raw.notifies(timeout=LISTEN_SECONDS, stop_after=1):
            self._heard()

    def _watch(self) -> None:
        """In a loop of its own: so many times a second, going through the role would be felt."""
        raw = connection.connection
        until = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < until:
            (version,) = raw.execute(_VERSION).fetchone()
            if version != self._version:
                self._version = version
                self._heard()
            time.sleep(LOOK_SECONDS)
