"""`make demo` and `make run`, as a person would use them: start, look, Ctrl-C."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpcore
import psutil
import pytest
from django.core.management import ManagementUtility

from jobs.models import Job
from jobs.statuses import Status
from tests.harness import ProjectProcess, environment, wait_until

READY_SECONDS = 60
STOP_SECONDS = 10

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def launched(command: str, port: int, var: Path) -> Iterator[ProjectProcess]:
    """`manage.py demo` or `serve`, from its start until it says that it is ready."""
    env = environment() | {"VAR_DIR": str(var), "SECRET_KEY": "k" * 60}
    with ProjectProcess("manage.py", command, "--port", str(port), env=env) as process:
        wait_until(lambda: is_ready(process), READY_SECONDS, "the launcher is ready")
        yield process


def is_ready(process: ProjectProcess) -> bool:
    """Whether it greeted; fails at once if it ended."""
    assert process.popen.poll() is None, process.output
    return "Ctrl-C stops everything." in process.output


def api_key(process: ProjectProcess) -> str:
    """The key on the one line that names it."""
    (key,) = re.findall(r"^API key: (\S+)$", process.output, re.M)
    return str(key)


def end(process: ProjectProcess, number: int) -> int:
    """Send the signal and wait; afterwards nothing that it started is alive."""
    family = process.family()
    process.send(number)
    code = process.wait(STOP_SECONDS)
    assert psutil.wait_procs(family, timeout=1)[1] == []
    return code


def test_demo_is_alive_and_ends_cleanly(port: int, tmp_path: Path) -> None:
    with launched("demo", port, tmp_path) as demo:
        assert demo.output.count(f"Dashboard: http://127.0.0.1:{port}/\n") == 1
        assert re.search(r"^Login: admin / \S+$", demo.output, re.M)
        assert (tmp_path / "demo-key").stat().st_mode & 0o077 == 0
        headers = {"Authorization": f"Bearer {api_key(demo)}"}
        answer = httpcore.request("GET", f"http://127.0.0.1:{port}/api/v1/jobs", headers=headers)
        assert answer.status == 200
        wait_until(lambda: Job.objects.filter(status=Status.DONE).count() > 5, 30, "jobs run")

        assert end(demo, signal.SIGINT) == 0
        assert re.search(r"^Stopped\. Jobs: .*\d+ DONE", demo.output, re.M)
        assert "Traceback" not in demo.output
        assert "Traceback" not in (tmp_path / "log" / "web.log").read_text()
    assert not Job.objects.filter(status=Status.RUNNING).exists()


def test_second_start_finds_the_same_key(port: int, tmp_path: Path) -> None:
    with launched("serve", port, tmp_path) as first:
        key = api_key(first)
        assert end(first, signal.SIGTERM) == 0
        assert "Stopped. Jobs: none yet." in first.output
    with launched("serve", port, tmp_path) as second:
        assert api_key(second) == key


def test_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        env = environment() | {"VAR_DIR": str(tmp_path / "var"), "SECRET_KEY": "k" * 60}
        with ProjectProcess("manage.py", "demo", "--port", str(port), env=env) as demo:
            assert demo.wait() == 1
            assert f"Port {port} of 127.0.0.1 cannot be used" in demo.output
            assert "Traceback" not in demo.output
    assert not (tmp_path / "var" / "log").exists()


@pytest.mark.parametrize("port", ["http", "0", "70000"])
def test_impossible_port_is_said(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ManagementUtility(["manage.py", "serve", "--port", port]).execute()
    assert f"'{port}' is not a port" in capsys.readouterr().err


def test_death_of_a_child_ends_everything(port: int, tmp_path: Path) -> None:
    with launched("serve", port, tmp_path) as server:
        family = server.family()
        (web,) = [process for process in family if "daphne" in " ".join(process.cmdline())]
        os.kill(web.pid, signal.SIGKILL)
        assert server.wait(STOP_SECONDS + 5) == 1
        assert "web ended unexpectedly (exit code -9)" in server.output
        assert psutil.wait_procs(family, timeout=1)[1] == []


def test_death_of_the_launcher_ends_everything(port: int, tmp_path: Path) -> None:
    with launched("serve", port, tmp_path) as server:
        family = server.family()
        server.send(signal.SIGKILL)
        assert psutil.wait_procs(family, timeout=STOP_SECONDS)[1] == []


def test_second_launcher_in_the_same_directory_is_refused(port: int, tmp_path: Path) -> None:
    with launched("serve", port, tmp_path) as first:
        log = (tmp_path / "log" / "web.log").read_text()
        env = environment() | {"VAR_DIR": str(tmp_path), "SECRET_KEY": "k" * 60}
        with ProjectProcess("manage.py", "demo", "--port", str(port), env=env) as second:
            assert second.wait() == 1
            assert f"process {first.popen.pid}, http://127.0.0.1:{port}/" in second.output
        assert (tmp_path / "log" / "web.log").read_text().startswith(log)
