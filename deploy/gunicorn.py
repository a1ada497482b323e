"""How the WSGI server answers REST and pages.

    gunicorn --config deploy/gunicorn.py jobqueue_project.wsgi

Options of the command line win. WEB_PROCESSES is the number of processes, 2 by default: about one
for each core that is to be used, each of which has a database connection for every thread.
"""

import logging
import os
import socket
import struct
from pathlib import Path
from typing import Any

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_PROCESSES", "2"))
# One waits for the database while the other runs; more would only take turns. An export holds
# one for as long as its client reads: a process sends one at a time (`jobs/sending.py`).
worker_class = "gthread"
threads = 2
# Longer than proxies keep theirs: then it is never we who close a connection that is being used.
keepalive = 75
limit_request_line = 8_190
graceful_timeout = 10
# The heartbeat of the processes is a file that is touched: in memory, where no disk can hold it up.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Let gunicorn log as we do, without the queries of requests. There is no access log."""
    from jobs.logs import StructuredFormatter  # noqa: PLC0415  (the project is on the path now)

    for handler in logging.getLogger("gunicorn.error").handlers:
        handler.setFormatter(StructuredFormatter())


def when_ready(server: Any) -> None:
    """Cut off, within a minute, a client that takes nothing of its answer: it holds a thread."""
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
