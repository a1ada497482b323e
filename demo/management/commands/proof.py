"""`manage.py proof`: 1,000 jobs, a killed worker, every job accounted for."""

import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from demo.proof import prove, restart_with_own_database


class Command(BaseCommand):
    """The last line is the verdict; the exit code is 0 if it is as it must be."""

    help = "Prove that no job is lost or doubled when a worker is killed (about half a minute)."

    def add_arguments(self, parser: CommandParser) -> None:
        """`--here` is how the command calls itself."""
        parser.add_argument(
            "--here", action="store_true", help="use the database of these settings (internal)"
        )

    def handle(self, *args: Any, here: bool, **options: Any) -> None:
        """Prove, in a process with a database of its own."""
        if not here:
            restart_with_own_database()
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))  # the workers are stopped on the way
        verdict = prove(self._say)
        self._say(str(verdict))
        sys.exit(0 if verdict.is_as_constructed else 1)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
