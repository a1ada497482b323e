"""What an installation keeps in files is for its own user: everybody's payloads are in there."""

import os
import subprocess
import sys
from pathlib import Path

WRITE = """
import os, django
os.umask(0o022)
django.setup()
from django.db import connection
connection.cursor().execute("CREATE TABLE written (x)")
for path in os.scandir(os.environ["VAR_DIR"]):
    print(path.name, oct(path.stat().st_mode & 0o77))
"""


def test_the_folder_and_the_database_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    own = {"VAR_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "jobqueue_project.settings"}
    passed_on = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    answer = subprocess.run(
        [sys.executable, "-c", WRITE],
        env=passed_on | own,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    modes = dict(line.split() for line in answer.stdout.splitlines() if "sqlite3" in line)
    assert modes == dict.fromkeys(
        ("jobqueue.sqlite3", "jobqueue.sqlite3-wal", "jobqueue.sqlite3-shm"), "0o0"
    )
    assert folder.stat().st_mode & 0o77 == 0
