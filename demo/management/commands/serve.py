"""`manage.py serve`: web and workers together, until Ctrl-C."""

import os
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from demo.launcher import LaunchFailed, launch


def port_number(text: str) -> int:
    """A TCP port."""
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise ArgumentTypeError(f"{text!r} is not a port: 1 to 65535")
    return int(text)


class Command(BaseCommand):
    """Parses the port; `demo.launcher` does the rest."""

    help = "Run the dashboard, the API and workers on this machine, until Ctrl-C."
    workload = False

    def add_arguments(self, parser: CommandParser) -> None:
        """The port."""
        parser.add_argument(
            "--port",
            type=port_number,
            default=os.environ.get("PORT", "8000"),
            help="port on 127.0.0.1 (default: $PORT, or 8000)",
        )

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        """Run; exit code 1 with a message if that is not possible."""
        try:
            launch(port, workload=self.workload)
        except LaunchFailed as error:
            raise CommandError(str(error)) from None
