"""Jobs as runs of programs: what goes in, what comes out, and how they are stopped."""

import json
import os
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobqueue_client import Client, Discard, Json, LeasedJob, programs
from jobqueue_client.__main__ import main
from jobqueue_client.programs import ProgramFailed, ProgramStopped, runs
from jobs.models import Tenant
from tests.client.test_repeats import BARE
from tests.harness import ProjectProcess, wait_until

PATIENCE = 60
DOUBLE = "import json, sys; print(2 * json.load(sys.stdin))"


def python(program: str) -> str:
    """The command that runs this Python program."""
    return shlex.join([sys.executable, "-c", program])


def job(payload: str = "null") -> LeasedJob:
    return LeasedJob.from_json({**BARE, "fence": 7, "payload_text": payload})


@pytest.mark.parametrize(
    ("printed", "result"),
    [
        ("", None),
        ('{"exact": 1.10}\n', Json('{"exact": 1.10}')),
        ("no json\n", "no json"),
        ("NaN\n", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_what_it_prints_is_the_result(printed: str, result: Any) -> None:
    assert runs(python(f"print({printed!r}, end='')"))(job()) == result


def test_it_gets_the_payload_as_it_was_sent() -> None:
    copy = runs(python("import sys; sys.stdout.write(sys.stdin.read())"))
    assert copy(job('{"exact": 1.10}')) == Json('{"exact": 1.10}')
    large = json.dumps("x" * 900_000)
    assert copy(job(large)) == Json(large)
    assert runs(python("print(1)"))(job(large)) == Json("1"), "it need not read it"


def test_it_knows_its_job_and_not_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBQUEUE_KEY", "jq_secret")
    monkeypatch.setenv("OTHER", "1")
    told = runs(python("import json, os; print(json.dumps(dict(os.environ)))"))(job())
    environment = json.loads(told.text)
    assert (environment["JOBQUEUE_JOB_ID"], environment["JOBQUEUE_FENCE"]) == ("x", "7")
    assert (environment["JOBQUEUE_TASK"], environment["JOBQUEUE_ATTEMPT"]) == ("echo", "1")
    assert environment["OTHER"] == "1"
    assert "jq_secret" not in told.text


def test_exit_codes_decide() -> None:
    with pytest.raises(ProgramFailed, match="exit code 3: no luck"):
        runs(python("import sys; print('no luck', file=sys.stderr); sys.exit(3)"))(job())
    with pytest.raises(Discard, match="exit code 65"):
        runs(python("import sys; sys.exit(65)"))(job())


@pytest.mark.parametrize("command", ["", "/no/such/program", "no-such-program --at all"])
def test_a_program_that_is_not_there_is_refused_at_once(command: str) -> None:
    with pytest.raises(ValueError, match="no program"):
        runs(command)


@pytest.mark.parametrize("trap", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN); "])
def test_a_stopped_job_stops_its_program_and_what_that_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trap: str
) -> None:
    monkeypatch.setattr(programs, "STOP_SECONDS", 0.2)
    pids = tmp_path / "pids"
    program = (
        f"import os, signal, subprocess, time; {trap}"
        "child = subprocess.Popen(['sleep', '600']); "
        f"open({str(tmp_path / 'new')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); "
        f"os.rename({str(tmp_path / 'new')!r}, {str(pids)!r}); time.sleep(600)"
    )
    running = job()
    raised: list[Exception] = []

    def run() -> None:
        try:
            runs(python(program))(running)
        except ProgramStopped as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(pids.exists, PATIENCE, "the program runs")
    running.stopping.set()
    thread.join(PATIENCE)
    assert len(raised) == 1
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not _is_alive(pid), PATIENCE, "it has ended")


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def place(server: str, alice: Tenant, key_of: Callable[..., str]) -> tuple[str, ...]:
    return ("--url", server, "--key", key_of(alice))


@pytest.mark.django_db(transaction=True)
def test_work_runs_a_program_per_job_until_none_is_left(
    live: Client, place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = live.submit("remote:double", 21)
    bad = live.submit("remote:fail", max_retries=0)
    set_signals: list[int] = []
    monkeypatch.setattr("signal.signal", lambda number, handler: set_signals.append(number))
    arguments = ("--task", f"remote:double={python(DOUBLE)}", "--task", "remote:fail=false")
    assert main(["work", *arguments, "--slots", "2", "--drain", *place]) == 0
    assert (live.result(good, 0), live.get(bad).status) == (42, "DLQ")
    assert len(set_signals) == 2


@pytest.fixture
def at_work(
    server: str, alice: Tenant, key_of: Callable[..., str]
) -> Callable[..., ProjectProcess]:
    """Starts `work` for a task `remote:slow` that takes so long."""
    key = key_of(alice)

    def start(seconds: float) -> ProjectProcess:
        program = python(f"import time; time.sleep({seconds}); print(1)")
        command = ("-m", "jobqueue_client", "work", "--task", f"remote:slow={program}")
        return ProjectProcess(
            *command, env=os.environ | {"JOBQUEUE_URL": server, "JOBQUEUE_KEY": key}
        )

    return start


@pytest.mark.django_db(transaction=True)
def test_sigterm_lets_the_running_program_end(
    live: Client, at_work: Callable[..., ProjectProcess]
) -> None:
    job = live.submit("remote:slow")
    with at_work(1) as process:
        wait_until(lambda: len(process.family()) > 1, PATIENCE, "the program runs")
        process.popen.terminate()
        assert process.wait(PATIENCE) == 0, process.output
        assert live.get(job).status == "DONE"
        assert f"{job.id} remote:slow: DONE" in process.output
        assert "jq_" not in process.output


@pytest.mark.django_db(transaction=True)
def test_a_second_sigterm_stops_it_and_gives_the_job_back(
    live: Client, at_work: Callable[..., ProjectProcess]
) -> None:
    job = live.submit("remote:slow")
    with at_work(600) as process:
        wait_until(lambda: len(process.family()) > 1, PATIENCE, "the program runs")
        program = process.family()[1]
        process.popen.terminate()
        wait_until(lambda: "Stopping" in process.output, PATIENCE, "it heard")
        process.popen.terminate()
        assert process.wait(PATIENCE) == 130, process.output
        assert "Traceback" not in process.output
    assert not _is_alive(program.pid)
    back = live.get(job)
    assert (back.status, back.attempt) == ("PENDING", 0)


@pytest.mark.parametrize(
    "arguments",
    [(), ("--task", "x"), ("--task", "x=/no/such"), ("--task", "x=true", "--slots", "0")],
)
def test_work_says_what_it_needs(arguments: tuple[str, ...], capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        main(["work", *arguments, "--url", "http://q.invalid", "--key", "jq_a"])
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err
