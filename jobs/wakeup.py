"""Tell idle workers that there is work, and hear it. A hint that shortens polling, never the truth.

On PostgreSQL a NOTIFY, coalesced: a process sends at most one in `GAP_SECONDS`, after the commit
and in a transaction of its own, because every transaction with a NOTIFY takes a lock that is global
to the server. On SQLite nothing: workers see that the file changed.
"""

import logging
import select
import threading
import time
from typing import Any

from django.db import Error, connection

from jobs.store.dialect import fetch, is_postgresql

CHANNEL = "jobqueue"
GAP_SECONDS = 0.02
IDLE_SECONDS = 10
"""After so long without a signal, the thread that sends the delayed ones ends."""

# A transaction with a NOTIFY is written to disk; nobody has to wait for that.
_NOTIFY = f"SELECT set_config('synchronous_commit', 'off', TRUE), pg_notify('{CHANNEL}', '')"

_log = logging.getLogger(__name__)


class Ears:
    """Hears on the connection of its thread: on PostgreSQL notifications, on SQLite any commit.

    A change of the SQLite file is looked for every `look_seconds`.
    """

    def __init__(self, *, look_seconds: float) -> None:
        self._look_seconds = look_seconds
        self._raw: Any = None
        self._version = 0

    def open(self) -> bool:
        """Begin to hear; whether that is new. What came before was not heard."""
        connection.ensure_connection()
        if connection.connection is self._raw:
            return False
        self._raw = connection.connection
        with connection.wrap_database_errors:
            if is_postgresql():
                self._raw.execute(f"LISTEN {CHANNEL}")
            else:
                self._version = self._file_version()
        return True

    def heard(self, seconds: float) -> bool:
        """Whether anything is heard in so long, or may have been missed; answers at once then.

        Raises what the database raises.
        """
        if self.open():
            return True
        with connection.wrap_database_errors:
            if is_postgresql():
                return self._is_notified() or (self._hears(seconds) and self._is_notified())
            return self._sees_change(seconds)

    def _is_notified(self) -> bool:
        """Also if it came with the answer to a query: the driver looks at the socket alone."""
        came = self._raw.pgconn.notifies() is not None
        return came or any(True for _ in self._raw.notifies(timeout=0, stop_after=1))

    def _hears(self, seconds: float) -> bool:
        """Whether the server says anything in so long: the driver would wake ten times a second."""
        poll = select.poll()
        poll.register(self._raw.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _sees_change(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self._look_seconds)
            before, self._version = self._version, self._file_version()
            if self._version != before:
                return True
        return False

    def _file_version(self) -> int:
        (version,) = self._raw.execute("PRAGMA data_version").fetchone()
        return int(version)


class _Waker:
    """Sends at once what comes after a gap, and the rest of a burst once, after the gap.

    That by a thread with a connection of its own, which lasts for as long as it is needed.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sent_at = 0.0
        self._is_asked = False
        self._thread: threading.Thread | None = None

    def signal(self) -> None:
        with self._changed:
            if self._is_asked or time.monotonic() < self._sent_at + GAP_SECONDS:
                self._ask_thread()
                return
            self._sent_at = time.monotonic()
        _send()

    def _ask_thread(self) -> None:
        self._is_asked = True
        if self._thread is None or not self._thread.is_alive():  # it does not live on in a fork
            self._thread = threading.Thread(target=self._serve, name="wakeup", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _serve(self) -> None:
        while self._was_asked():
            time.sleep(GAP_SECONDS)
            with self._changed:
                self._is_asked = False
                self._sent_at = time.monotonic()
            _send()
        connection.close()

    def _was_asked(self) -> bool:
        with self._changed:
            if self._changed.wait_for(lambda: self._is_asked, IDLE_SECONDS):
                return True
            self._thread = None
            return False


_waker = _Waker()


def signal() -> None:
    """Wake the workers: at once, or in a moment if they have just been woken."""
    if is_postgresql():
        _waker.signal()


def _send() -> None:
    try:
        fetch(_NOTIFY, {})
    except Error:
        # The job is committed; polling finds it.
        connection.close_if_unusable_or_obsolete()
        _log.warning("workers were not woken; they will find the work by polling", exc_info=True)
