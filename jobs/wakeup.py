"""Tell idle workers that there is work. A hint that shortens their polling, never the truth.

On PostgreSQL a NOTIFY, coalesced: a process sends at most one in `GAP_SECONDS`, after the commit
and in a transaction of its own, because every transaction with a NOTIFY takes a lock that is global
to the server. On SQLite nothing: workers see that the file changed.
"""

import logging
import threading
import time

from django.db import Error, connection

from jobs.store.dialect import is_postgresql

CHANNEL = "jobqueue"
GAP_SECONDS = 0.02

_NOTIFY = f"NOTIFY {CHANNEL}"

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_last_sent = 0.0
_trailing: threading.Timer | None = None


def signal() -> None:
    """Wake the workers: at once, or with the next signal if one has just been sent."""
    if not is_postgresql():
        return
    global _last_sent, _trailing  # noqa: PLW0603
    with _lock:
        wait = _last_sent + GAP_SECONDS - time.monotonic()
        if wait > 0:
            if _trailing is None:
                _trailing = threading.Timer(wait, _send_trailing)
                _trailing.daemon = True
                _trailing.start()
            return
        _last_sent = time.monotonic()
    _send()


def _send_trailing() -> None:
    global _last_sent, _trailing  # noqa: PLW0603
    with _lock:
        _trailing = None
        _last_sent = time.monotonic()
    try:
        _send()
    finally:
        connection.close()


def _send() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NOTIFY)
    except Error:
        # The job is committed; polling finds it.
        _log.warning("workers were not woken; they will find the work by polling", exc_info=True)
