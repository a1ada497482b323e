"""The project's settings for runs under faults: with our tasks, and perhaps with a wrong clock."""

import os

from jobqueue_project.settings import *  # noqa: F403  (all of them)
from jobqueue_project.settings import INSTALLED_APPS
from tests.faults import clock

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults"]

if skew := os.environ.get("FAULTS_CLOCK_SKEW"):
    clock.go_wrong(float(skew))
