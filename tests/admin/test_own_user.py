"""A project that brings its own model of people."""

import subprocess
import sys

from tests.harness import ROOT, environment


def test_the_admin_starts_without_djangos_users() -> None:
    """Its pages are loaded with the project: what fails there, fails everything."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.admin.own_user.settings"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=environment() | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
