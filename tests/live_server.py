"""A real server of the project on the test database, in a process of its own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

from tests.harness import ProjectProcess, environment, wait_until

START_SECONDS = 60


@contextmanager
def live_server(**tunables: object) -> Iterator[tuple[str, ProjectProcess]]:
    """The address and the process of an ASGI server with these tunables; gone after the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    command = ("-m", "daphne", "-b", "127.0.0.1", "-p", port, "jobqueue_project.asgi:application")
    with ProjectProcess(*command, env=environment(**tunables)) as process:
        wait_until(lambda: _answers(process, address), START_SECONDS, "the server answers")
        try:
            yield address, process
        finally:
            process.kill()  # it has nothing to finish


def _answers(process: ProjectProcess, address: str) -> bool:
    if process.popen.poll() is not None:
        raise AssertionError(f"the server ended:\n{process.output}")
    try:
        return bool(urlopen(f"{address}/health/live").status == 200)
    except URLError:
        return False
