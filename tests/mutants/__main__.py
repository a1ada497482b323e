"""`python -m tests.mutants`: does a test fail for every guard that is taken away?

Each mutant is the project with one guard less, tried in a copy of the working tree: first with the
few tests that ought to notice, then with all of the store's and of the invariants'. The exit code
is 1 if one survives, or if one is not a mutant of the code as it is now.
"""

import signal
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import DATABASES, Mutant, StaleMutantError
from tests.mutants.trial import PASSED, ROOT, Copy, Result, Verdict
from tests.postgres import running_server

Trial = tuple[Mutant, str]


def main(arguments: Sequence[str]) -> int:
    """Try the mutants that were asked for; answers 1 if any was not killed."""
    asked = _parser().parse_args(arguments)
    names = asked.only or [mutant.name for mutant in MUTANTS]
    databases = [asked.database] if asked.database else DATABASES
    mutants = [mutant for mutant in MUTANTS if mutant.name in names]
    trials = [(m, database) for m in mutants for database in databases if database in m.databases]
    if asked.list:
        _say("\n".join(f"{mutant.name}  ({', '.join(mutant.databases)})" for mutant in mutants))
        return 0
    if stale := list(_stale(mutants)):
        sys.exit("\n".join(stale))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return _report(list(_results(trials, asked.jobs)), len(mutants))


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m tests.mutants", description=__doc__.split("\n\n")[0])
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="see --list")
    parser.add_argument("--database", choices=DATABASES, help="default: both")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time; default: 2")
    parser.add_argument("--list", action="store_true", help="say the names and end")
    return parser


def _stale(mutants: Sequence[Mutant]) -> Iterator[str]:
    """Why some of them are no mutants of the code as it is now."""
    for mutant in mutants:
        try:
            mutant.applied_to((ROOT / mutant.file).read_text())
        except StaleMutantError as error:
            yield str(error)


def _results(trials: Sequence[Trial], jobs: int) -> Iterator[Result]:
    """Try each mutant on each of its databases; says the results as they come."""
    with _copies({database for _, database in trials}, jobs) as copies:
        _refuse_failing_tests(copies[0], trials)
        idle: SimpleQueue[Copy] = SimpleQueue()
        for copy in copies:
            idle.put(copy)

        def run(trial: Trial) -> Result:
            copy = idle.get()
            try:
                return copy.try_out(*trial)
            finally:
                idle.put(copy)

        pool = ThreadPoolExecutor(jobs)
        try:
            for future in as_completed([pool.submit(run, trial) for trial in trials]):
                _say(_line(future.result()))
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for copy in copies:
                copy.stop()
            pool.shutdown()


@contextmanager
def _copies(databases: Collection[str], count: int) -> Iterator[list[Copy]]:
    """So many copies of the project, with databases of their own on one server."""
    with ExitStack() as stack:
        server = stack.enter_context(running_server()) if "postgresql" in databases else None
        copies = []
        for number in range(count):
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-mutants-"))
            url = server and urlsplit(server.url)._replace(path=f"/mutants_{number}").geturl()
            copies.append(Copy(Path(place), {"sqlite": None, "postgresql": url}))
            stack.callback(copies[-1].stop)
        yield copies


def _refuse_failing_tests(copy: Copy, trials: Sequence[Trial]) -> None:
    """A test that fails anyway kills nothing."""
    for database in sorted({database for _, database in trials}):
        tests = {test for mutant, on in trials if on == database for test in mutant.tests}
        answer = copy.passes(tests, database)
        if answer.code != PASSED:
            sys.exit(f"Without any mutation, on {database}:\n{answer.output}")
        _say(f"Without any mutation the tests pass on {database}.")


def _line(result: Result) -> str:
    name = f"{result.mutant.name} ({result.database})"
    return f"{result.verdict:<8}  {name:<76}  {result.seconds:5.1f} s  {result.by}"


def _report(results: Sequence[Result], mutants: int) -> int:
    alive = [result for result in results if result.verdict is not Verdict.KILLED]
    _say(f"{mutants} mutants, {len(results)} trials, {len(results) - len(alive)} killed")
    for result in alive:
        _say(_line(result))
    return 1 if alive else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
