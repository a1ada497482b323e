"""How the WSGI server answers REST and pages.

    gunicorn --config deploy/gunicorn.py jobqueue_project.wsgi

Options of the command line win. WEB_PROCESSES is the number of processes, 2 by default: about one
for each core that is to be used, each of which has a database connection for every thread.
"""

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_PROCESSES", "2"))
# Threads wait for the database together; more of them than that only take turns. An export holds
# one for as long as its client reads, and a tenant may have two of them.
worker_class = "gthread"
threads = 3
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


def pre_fork(server: Any, worker: Any) -> None:
    """Choose a core for the process: the one that the fewest of the others have."""
    if hasattr(os, "sched_getaffinity"):
        taken = Counter(other.core for other in server.WORKERS.values())
        worker.core = min(sorted(os.sched_getaffinity(0)), key=lambda core: taken[core])


def post_fork(server: Any, worker: Any) -> None:
    """Stay there: threads of one process run in turns, and to wake one elsewhere takes longer."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {worker.core})
