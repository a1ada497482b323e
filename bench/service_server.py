"""The WSGI server as a deployment starts it, with one process, on a free port."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import ProjectProcess, environment, wait_until

READY_SECONDS = 60
OURS, BARE = "jobqueue_project.wsgi", "bench.service_floor"
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")


@contextmanager
def served(application: str, processes: int = 1, **variables: str) -> Iterator[int]:
    """gunicorn with this application and these variables; answers its port."""
    workers = ("--workers", str(processes))
    options = ("--config", "deploy/gunicorn.py", *workers, "--bind", "127.0.0.1:0")
    with ProjectProcess(
        "-m", "gunicorn", *options, application, env=environment() | variables
    ) as process:
        yield wait_until(lambda: _told_port(process), READY_SECONDS, "the server listens")


def _told_port(process: ProjectProcess) -> int:
    if process.popen.poll() is not None:
        raise AssertionError(f"the server ended with {process.popen.returncode}:\n{process.output}")
    found = _LISTENING.search(process.output)
    return int(found[1]) if found else 0
