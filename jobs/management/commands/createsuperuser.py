"""`manage.py createsuperuser`: Django's own, and whom it makes is in the audit log."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser

from jobs.management.people import written_down


class Command(createsuperuser.Command):
    """It is this one while our app stands before Django's in `INSTALLED_APPS`."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Make somebody who may do everything."""
        with written_down("command:createsuperuser", "create_user"):
            return super().handle(*args, **options)
