"""Settings of the test suite: the project's own, on a database and a `var` of this run alone.

`DATABASE_URL` decides the database, as everywhere; without it, SQLite. The database is a file, so
that worker processes started by a test see what the test wrote.
"""

import atexit
import os
import shutil
import tempfile
from copy import deepcopy
from pathlib import Path

_own_var = tempfile.mkdtemp(prefix="jobqueue-tests-")
_owner = os.getpid()


@atexit.register
def _remove_var() -> None:
    if os.getpid() == _owner:  # and not in a fork of a test
        shutil.rmtree(_own_var, ignore_errors=True)


os.environ["VAR_DIR"] = _own_var

from jobqueue_project.settings import *  # noqa: E402, F403  (reads VAR_DIR)
from jobqueue_project.settings import DATABASES as PROJECTS_DATABASES  # noqa: E402

DATABASES = deepcopy(PROJECTS_DATABASES)
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": Path(_own_var) / "test.sqlite3"}
    # As of PostgreSQL (`tests/postgres.py`): it is thrown away, and only a power cut would notice.
    DATABASES["default"]["OPTIONS"]["init_command"] += "; PRAGMA synchronous=OFF"

STATIC_ROOT = Path(_own_var) / "static"  # WhiteNoise warns where there is none
STATIC_ROOT.mkdir()
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Every client of a test makes the middleware anew: it must not read all static files each time.
WHITENOISE_AUTOREFRESH = True
