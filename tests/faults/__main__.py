"""`python -m tests.faults`: many jobs under many faults; is anything lost, doubled or wrong?

It starts a PostgreSQL of its own, workers and a web process, breaks them in every way it knows,
heals everything, waits for the jobs and judges what became of each. Then a twentieth of that on
SQLite. The seed that is printed chooses jobs and faults again. The exit code is 0 if nothing was
wrong; otherwise logs and history are kept.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.faults import disk
from tests.faults.faults import FAULTS
from tests.faults.plan import HAZARDS
from tests.postgres import HANDLE, PostgresUnavailable, running_server

ROOT = Path(__file__).resolve().parents[2]
SQLITE_SHARE = 20
MANY_JOBS = 5_000
INTERRUPTED = 130
SKEW = "clock-skew"
NAMES = (*FAULTS, *HAZARDS, SKEW)


def main(arguments: Sequence[str]) -> int:
    """Run on the databases that were asked for; answers 1 if anything was wrong on one of them."""
    asked = _parser().parse_args(arguments)
    databases = [asked.database] if asked.database else ["postgresql", "sqlite"]
    wrong = [database for database in databases if not _run(database, asked)]
    again = f"seed {asked.seed}"
    _say(f"WRONG on {' and '.join(wrong)}; {again}" if wrong else f"Nothing was wrong; {again}")
    return 1 if wrong else 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m tests.faults", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--jobs", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument(
        "--minutes",
        type=float,
        default=8,
        help="for submitting and breaking at most; then it lasts while jobs end; default: 8",
    )
    parser.add_argument("--database", choices=["postgresql", "sqlite"], help="default: both")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, metavar="FAULT", help=", ".join(NAMES)
    )
    return parser


def _run(database: str, asked: Namespace) -> bool:
    """One run in a process with its own settings; answers whether nothing was wrong."""
    jobs = asked.jobs
    if database == "sqlite" and not asked.database:
        jobs = max(100, jobs // SQLITE_SHARE)
    faults = [
        name for name in asked.only if name not in FAULTS or database in FAULTS[name].databases
    ]
    directory = Path(tempfile.mkdtemp(prefix="jobqueue-faults-"))
    _say(f"== {database}: {jobs} jobs, seed {asked.seed}")
    with ExitStack() as stack:
        environment = _environment(directory, jobs)
        if database == "postgresql":
            environment |= _postgresql(stack, faults)
        command = ["faults", "--seed", asked.seed, "--jobs", jobs, "--minutes", asked.minutes]
        code = _manage(*map(str, command), "--faults", *faults, environment=environment)
    if code in {0, INTERRUPTED}:
        shutil.rmtree(directory)
    if code == INTERRUPTED:
        sys.exit(code)
    if code:
        _say(f"history and logs are in {directory}")
    return code == 0


def _environment(directory: Path, jobs: int) -> dict[str, str]:
    lease = 5 if jobs >= MANY_JOBS else 3
    tunables = {"lease_seconds": lease, "heartbeat_seconds": 1, "reap_interval_seconds": 0.5}
    inherited = {name: value for name, value in os.environ.items() if name != HANDLE}
    return inherited | {
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
        "DATABASE_URL": f"sqlite:///{directory / 'faults.sqlite3'}",
        "VAR_DIR": str(directory),
        "JOBQUEUE": json.dumps(tunables),
    }


def _postgresql(stack: ExitStack, faults: list[str]) -> dict[str, str]:
    """Start one, with its tables on a small disk if it is to be full; answers how to find it."""
    disk.write_durably()
    server = stack.enter_context(running_server())
    found = {"DATABASE_URL": server.url, HANDLE: str(server.directory)}
    if "fill-disk" in faults:
        try:
            found[disk.VARIABLE] = str(stack.enter_context(disk.mounted()))
        except OSError as error:
            _say(f"without fill-disk, as no small disk can be had here: {error}")
            faults.remove("fill-disk")
    return found


def _manage(*arguments: str, environment: dict[str, str]) -> int:
    """Run a command of the project to its end, also when we are asked to end."""
    process = subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
    return process.wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PostgresUnavailable as error:
        sys.exit(str(error))
