"""`manage.py runworkers`: run jobs until stopped."""

import os
import re
from argparse import ArgumentParser, ArgumentTypeError

from django.core.management.base import BaseCommand

from jobs.checks import TAG
from jobs.conf import conf
from jobs.models.tenants import NAME_PATTERN
from workers.process import Options
from workers.supervisor import Supervisor


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def names(text: str) -> frozenset[str]:
    """The names in a list with commas between them."""
    found = frozenset(name.strip() for name in text.split(",") if name.strip())
    for name in found:
        if not re.fullmatch(NAME_PATTERN, name):
            raise ArgumentTypeError(f"{name!r} is no name: {NAME_PATTERN}, with commas between")
    return found


class Command(BaseCommand):
    """Parses the arguments; the engine does the rest."""

    # The others import every page and its libraries, which a worker would carry along for ever.
    requires_system_checks = (TAG,)
    help = (
        "Runs jobs. The first SIGTERM or Ctrl-C stops claiming and lets running jobs finish; "
        "the second gives them back at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The arguments."""
        parser.add_argument(
            "--processes", type=positive, default=os.cpu_count() or 1, help="default: one per core"
        )
        parser.add_argument(
            "--concurrency", type=positive, default=10, help="slots per process (default: 10)"
        )
        parser.add_argument(
            "--queues",
            type=names,
            default=frozenset(),
            help="comma separated; default: every queue of every tenant",
        )
        parser.add_argument(
            "--tags",
            type=names,
            default=frozenset(),
            help="comma separated; jobs that need such tags run only here",
        )
        parser.add_argument(
            "--drain-seconds",
            type=float,
            default=conf().drain_seconds,
            help="how long running jobs may finish after a stop (default: %(default)s)",
        )

    def handle(
        self,
        *args: object,
        processes: int,
        concurrency: int,
        queues: frozenset[str],
        tags: frozenset[str],
        drain_seconds: float,
        **options: object,
    ) -> None:
        """Run until a signal ends it."""
        told = Options(concurrency, queues, tags, drain_seconds)
        raise SystemExit(Supervisor(processes, told).run())
