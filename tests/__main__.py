"""`python -m tests [arguments of pytest]`: the suite on SQLite and on a real PostgreSQL.

Both run at once, because each spends much of its time waiting for the processes that it started.
What SQLite's run says is shown as it comes, PostgreSQL's when it is over. The exit code is 0 if
both passed.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import IO

PYTEST = (sys.executable, "-m", "pytest")
PYTEST_ON_POSTGRESQL = (sys.executable, "-m", "tests.postgres", "-m", "pytest")


def main(arguments: Sequence[str]) -> int:
    """Run both; answers 1 if either failed."""
    without_database = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    with tempfile.TemporaryFile("w+") as output:
        postgresql = subprocess.Popen(
            [*PYTEST_ON_POSTGRESQL, *arguments], stdout=output, stderr=subprocess.STDOUT
        )
        _say("== SQLite (PostgreSQL runs beside it)")
        sqlite = subprocess.Popen([*PYTEST, *arguments], env=without_database)
        _pass_on_signals(sqlite, postgresql)
        codes = {"SQLite": sqlite.wait(), "PostgreSQL": postgresql.wait()}
        _say("== PostgreSQL")
        _say(_content(output))
    failed = [name for name, code in codes.items() if code]
    _say(f"FAILED on {' and on '.join(failed)}" if failed else "Passed on SQLite and on PostgreSQL")
    return 1 if failed else 0


def _pass_on_signals(*processes: subprocess.Popen[bytes]) -> None:
    """Ctrl-C reaches them by itself; a SIGTERM is for all of us."""
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in processes])


def _content(output: IO[str]) -> str:
    output.seek(0)
    return output.read()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
