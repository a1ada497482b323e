"""What is loaded with an entry point is loaded once, before its first request."""

import subprocess
import sys

import pytest

from tests.architecture.rules import ROOT

LOOK = """
import gc, sys
import jobqueue_project.{entry}
assert "dashboard.overview_page" in sys.modules
print(gc.get_freeze_count())
"""


@pytest.mark.parametrize("entry", ["wsgi", "asgi"])
def test_a_server_collects_no_garbage_among_what_stays(entry: str) -> None:
    code = LOOK.format(entry=entry)
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert int(told.stdout) > 50_000
