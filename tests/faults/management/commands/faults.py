"""`manage.py faults`: one run under faults, on the database of the settings.

`python -m tests.faults` brings the database along; use that.
"""

import logging
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from tests.faults.faults import FAULTS
from tests.faults.plan import HAZARDS
from tests.faults.run import Options, run


class Command(BaseCommand):
    """Parses, prints with the time, and ends with 1 if anything was wrong."""

    help = "Run jobs under faults, and judge what became of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """As `tests.faults` gives them."""
        parser.add_argument("--seed", type=int, required=True)
        parser.add_argument("--jobs", type=int, required=True)
        parser.add_argument("--minutes", type=float, required=True)
        parser.add_argument("--faults", nargs="*", default=[])

    def handle(
        self, *args: Any, seed: int, jobs: int, minutes: float, faults: list[str], **options: Any
    ) -> None:
        """Run."""
        logging.disable(logging.WARNING)  # what our clients are warned of is our own doing
        began = time.monotonic()

        def say(text: str) -> None:
            self.stdout.write(f"{time.monotonic() - began:7.1f} s  {text}")
            self.stdout.flush()

        asked = Options(
            seed=seed,
            jobs=jobs,
            minutes=minutes,
            faults=[FAULTS[name] for name in faults if name in FAULTS],
            hazards=[name for name in faults if name in HAZARDS],
            skewed="clock-skew" in faults,
        )
        if not run(asked, say):
            sys.exit(1)
