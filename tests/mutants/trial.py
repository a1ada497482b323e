"""Trying a mutant: a copy of the project, one mutation, and the tests that ought to fail."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
WIDER_TESTS = ("tests/store", "tests/invariants")
QUICK_SECONDS, WIDE_SECONDS, GRACE_SECONDS = 240, 1_200, 20
PYTEST = (sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider")
IN_ORDER = ("-p", "no:randomly")
"""So that the same test kills the same mutant again."""

PASSED, TESTS_FAILED = 0, 1
FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - (.*))?$", re.MULTILINE)
# What such a mutant proves is that SQL and Python notice nonsense, and not that a test does.
NONSENSE = re.compile(
    r"ProgrammingError|OperationalError: (near|no such|ambiguous)|syntax error"
    r"|(Syntax|Indentation|Name|Import|ModuleNotFound|Attribute)Error"
)


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    INVALID = "INVALID"


class Result(NamedTuple):
    """What became of a mutant on one database, by which test, and how long that took."""

    mutant: Mutant
    database: str
    verdict: Verdict
    by: str
    seconds: float


class Answer(NamedTuple):
    """How a run of tests ended: pytest's exit code, or None if it took too long."""

    code: int | None
    output: str


class Copy:
    """A copy of the project, for one mutant at a time; `urls` are those of its databases."""

    def __init__(self, place: Path, urls: Mapping[str, str | None]) -> None:
        self._place = place
        self._urls = urls
        self._used: set[str] = set()
        self._running: subprocess.Popen[str] | None = None
        for name in _files():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)

    def passes(self, tests: Iterable[str], database: str) -> Answer:
        """Run these tests without any mutation."""
        return self._run(sorted(set(tests)), database, WIDE_SECONDS)

    def try_out(self, mutant: Mutant, database: str) -> Result:
        """Run the mutant's tests and, if it survives them, the wider ones."""
        began = time.monotonic()
        with self._mutated(mutant):
            answer = self._run(["-x", *mutant.tests], database, QUICK_SECONDS)
            if answer.code == PASSED:
                answer = self._run(["-x", *WIDER_TESTS], database, WIDE_SECONDS)
        return Result(mutant, database, *_judged(answer), time.monotonic() - began)

    def stop(self) -> None:
        """End the tests that are under way, if any are, also from another thread."""
        if self._running and self._running.poll() is None:
            os.killpg(self._running.pid, signal.SIGTERM)
            self._running.wait(GRACE_SECONDS)

    @contextmanager
    def _mutated(self, mutant: Mutant) -> Iterator[None]:
        file = self._place / mutant.file
        original = file.read_text()
        _write(file, mutant.applied_to(original))
        try:
            yield
        finally:
            _write(file, original)

    def _run(self, arguments: Sequence[str], database: str, seconds: float) -> Answer:
        command = [*PYTEST, *IN_ORDER, *self._keep_database(database), *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
        url = self._urls[database]
        self._running = process = subprocess.Popen(
            command,
            cwd=self._place,
            env=environment | {"COLUMNS": "1000"} | ({"DATABASE_URL": url} if url else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._used.discard(database)  # nobody knows in which state it is left
            _end(process)
            return Answer(None, f"no end within {seconds} seconds")
        return Answer(process.returncode, output)

    def _keep_database(self, database: str) -> list[str]:
        """PostgreSQL's test database is made once: no mutant changes the tables."""
        if self._urls[database] is None:
            return []
        fresh = [] if database in self._used else ["--create-db"]
        self._used.add(database)
        return ["--reuse-db", *fresh]


def _end(process: subprocess.Popen[str]) -> None:
    """End tests and all that they started: in order if they can."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _files() -> list[str]:
    """The files of the project as they are now, committed or not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def _write(file: Path, text: str) -> None:
    """Write a module; Python would take one of the same second and size for the one it knows."""
    file.write_text(text)
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def _judged(answer: Answer) -> tuple[Verdict, str]:
    """The verdict, and the test that killed the mutant or what else there is to say."""
    if answer.code == PASSED:
        return Verdict.SURVIVED, "no test failed"
    failure = FAILURE.search(answer.output)
    if answer.code != TESTS_FAILED or failure is None:
        return Verdict.INVALID, f"pytest ended with {answer.code}: {answer.output[-300:]}"
    test, why = failure.groups()
    if NONSENSE.search(why or ""):
        return Verdict.INVALID, f"{test}: {why}"
    return Verdict.KILLED, test
