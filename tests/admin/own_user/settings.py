"""Our settings, with another model of people."""

from jobqueue_project.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.admin.own_user"]  # noqa: F405
AUTH_USER_MODEL = "own_user.Person"
