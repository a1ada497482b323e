"""Scenarios that go wrong, each in its own way. Run by `bench.child` in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings as django_settings

from bench.scenario import BenchError, Figure, Sample, Settings

PID_FILE = "broken-pid"


def sound(settings: Settings) -> Iterator[Sample]:
    """Nothing is wrong with this one."""
    for number in settings.each_run():
        yield {"figure": Figure(number, 2)}


def void(settings: Settings) -> Iterator[Sample]:
    """Finds out after a run that the figures mean nothing."""
    yield {"figure": Figure(1)}
    raise BenchError("two jobs are missing")


def crashing(settings: Settings) -> Iterator[Sample]:
    """Has a bug."""
    yield {"figure": Figure(1)}
    raise ZeroDivisionError("by nothing")


def short(settings: Settings) -> Iterator[Sample]:
    """Does not run as often as it was told."""
    yield {"figure": Figure(1)}


def surprising(settings: Settings) -> Iterator[Sample]:
    """Measures what nobody will see."""
    yield {"figure": Figure(1), "other": Figure(1)}


def endless(settings: Settings) -> Iterator[Sample]:
    """Never ends, and has a process that does not end either."""
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    Path(django_settings.VAR_DIR, PID_FILE).write_text(str(sleeper.pid))
    yield {"figure": Figure(1)}
    time.sleep(600)
