"""Django's own commands about people, with an entry in the audit log: they decide who sees what."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models.signals import post_save

from jobs.audit import audit
from jobs.models import AuditAction

FLAGS = ("is_active", "is_staff", "is_superuser")


@contextmanager
def written_down(actor: str, action: AuditAction, **details: Any) -> Iterator[None]:
    """Whoever is saved meanwhile is in the audit log, with these details.

    Only the command itself knows whom: it asks for the name, and answers nothing.
    """

    def write(instance: Any, **_: Any) -> None:
        audit(actor, action, None, instance.get_username(), **(details or rights_of(instance)))

    people = get_user_model()
    post_save.connect(write, sender=people, weak=False)
    try:
        yield
    finally:
        post_save.disconnect(write, sender=people)


def rights_of(person: Any) -> dict[str, Any]:
    """What somebody new may do, of whichever model."""
    return {"after": {name: getattr(person, name, None) for name in FLAGS}}
