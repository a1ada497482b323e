"""`python -m tests [arguments of pytest]`: the suite on SQLite and on a real PostgreSQL.

Each in three parts with databases of their own, and all at once: one part keeps a processor busy,
the others often wait for the processes that they start. What the first says is shown as it comes,
the others' words when they are over. The exit code is 0 if all of them passed.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tests.chromium import MISSING, chromium

WAITING = {
    " with workers": ("admin", "faults", "invariants", "properties", "workers"),
    " with programs": (
        *("acceptance", "bench", "browser", "client", "commands", "demo", "examples"),
        *("packaging", "store"),
    ),
}
"""The folders whose tests mostly wait, by part; and some more, so that all parts end together."""
_LOOKS = ("frame", "job_list", "narrow", "pages", "tenant_choice", "times")
LAUNCHER = "tests/acceptance/test_launcher.py::test"
ANYWHERE = (
    f"{LAUNCHER}_taken_port_is_said_before_anything_starts",
    f"{LAUNCHER}_death_of_a_child_ends_everything",
    f"{LAUNCHER}_death_of_the_launcher_ends_everything",
    f"{LAUNCHER}_second_launcher_in_the_same_directory_is_refused",
    *("tests/acceptance/test_readme.py", "tests/architecture/", "tests/bench/test_figures.py"),
    *("tests/bench/test_measuring.py", "tests/bench/test_report.py", "tests/browser/test_axe.py"),
    *("tests/mutants/", *(f"tests/packaging/test_{what}.py" for what in ("audit", "containers"))),
    *(f"tests/packaging/test_{what}.py" for what in ("postgres", "proxy")),
    *(f"tests/browser/test_{what}.py" for what in _LOOKS),
    *("tests/client/", "tests/examples/test_workers.py", "tests/dashboard/test_roles.py"),
    "tests/admin/test_permissions.py",
)
"""How the names of those tests begin that are the same on any database, as they look at processes,
files, the look of a page, a program on the far side of REST, or at who may do what: they run
beside SQLite alone."""
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
"""Hundreds of processes are started, and would all compile the same modules."""
PASSED, NO_TESTS = 0, 5
"""Of pytest's exit codes; the latter is for arguments that choose nothing."""
PYTEST = (sys.executable, "-m", "pytest")
PYTEST_ON_POSTGRESQL = (sys.executable, "-m", "tests.postgres", "-m", "pytest")


class Part(NamedTuple):
    """A run of pytest under way; its output is None if that is shown as it comes."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[str] | None


def main(arguments: Sequence[str]) -> int:
    """Run all parts; answers 1 if one failed, or if there is no such test."""
    parts = list(_started(arguments))
    _pass_on_signals([part.process for part in parts])
    codes = {part.name: _ended(part) for part in parts}
    failed = [name for name, code in codes.items() if code not in {PASSED, NO_TESTS}]
    if PASSED not in codes.values():
        failed = failed or ["everything: there is no such test"]
    _say(f"FAILED on {' and on '.join(failed)}" if failed else "Passed on SQLite and on PostgreSQL")
    if chromium() is None:
        _say(MISSING)
    return 1 if failed else 0


def _started(arguments: Sequence[str]) -> Iterator[Part]:
    without_database = {k: v for k, v in ENVIRONMENT.items() if k != "DATABASE_URL"}
    for name, chosen in _parts(arguments):
        command = [*PYTEST, *arguments, *chosen]
        yield _start(f"SQLite{name}", command, without_database, is_shown=not name)
    is_given = "DATABASE_URL" in ENVIRONMENT  # then it is one database for all
    for name, chosen in [("", ())] if is_given else _parts(arguments):
        once = [f"--deselect={name}" for name in ANYWHERE] if chosen else []
        command = [*PYTEST_ON_POSTGRESQL, *arguments, *chosen, *once]
        yield _start(f"PostgreSQL{name}", command, ENVIRONMENT, is_shown=False)


def _parts(arguments: Sequence[str]) -> Sequence[tuple[str, Sequence[str]]]:
    """The names of the parts of a suite, and what each adds to the arguments.

    There is one if the arguments say where the tests are.
    """
    if any(Path(argument.partition("::")[0]).exists() for argument in arguments):
        return [("", ())]
    places = {part: [f"tests/{name}" for name in names] for part, names in WAITING.items()}
    others = [f"--ignore={place}" for part in places.values() for place in part]
    return [("", others), *places.items()]


def _start(
    name: str, command: Sequence[str], environment: Mapping[str, str], *, is_shown: bool
) -> Part:
    output = None if is_shown else tempfile.TemporaryFile("w+")  # noqa: SIM115  (it ends with us)
    errors = None if is_shown else subprocess.STDOUT
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=errors)
    return Part(name, process, output)


def _pass_on_signals(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ctrl-C reaches them by itself; a SIGTERM is for all of us."""
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in processes])


def _ended(part: Part) -> int:
    """Wait for its end and show what it said; answers its exit code."""
    if part.output is None:
        _say(f"== {part.name} (the others run beside it)")
        return part.process.wait()
    code = part.process.wait()
    with part.output as output:
        output.seek(0)
        _say(f"== {part.name}\n{output.read()}")
    return code


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
