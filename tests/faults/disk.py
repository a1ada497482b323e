"""The disks of a run's PostgreSQL: it writes durably, and its tables can run out of room."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from tests.postgres import SETTINGS, Server

VARIABLE = "FAULTS_SMALL_DISK"
SIZE = "1g"


def write_durably() -> None:
    """From now on, start servers that wait for the disk, as one does that keeps its promises."""
    SETTINGS.update(fsync="on", full_page_writes="on")


@contextmanager
def mounted() -> Iterator[Path]:
    """A small file system in memory. Raises `OSError` where that cannot be had."""
    directory = tempfile.mkdtemp(prefix="jobqueue-disk-", dir="/tmp")
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", directory]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip() or "mount failed")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def small_disk() -> Path | None:
    """The small file system of this run, if one could be had."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def put_tables_on(disk: Path, server: Server) -> None:
    """Have all tables that are made from now on there."""
    place = disk / "tables"
    place.mkdir()
    owner = server.data.stat()
    os.chown(place, owner.st_uid, owner.st_gid)
    disk.chmod(0o755)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
        cursor.execute("ALTER DATABASE postgres SET default_tablespace = small")
    connection.close()
