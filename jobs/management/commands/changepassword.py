"""`manage.py changepassword`: Django's own, and whose it changes is in the audit log."""

from typing import Any

from django.contrib.auth.management.commands import changepassword

from jobs.management.people import written_down


class Command(changepassword.Command):
    """It is this one while our app stands before Django's in `INSTALLED_APPS`."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Give somebody another password."""
        with written_down("command:changepassword", "change_user", changed=["password"]):
            return super().handle(*args, **options)
