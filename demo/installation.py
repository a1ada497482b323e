"""What an installation needs before it can run: tables, the demo tenant's key, an operator login.

Made at the first start and kept in `var/`; a later start finds everything as it was.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command

from demo.workload import ensure_tenant
from jobs.keys import create_api_key, verify

OPERATOR = "admin"


@dataclass(frozen=True)
class Installation:
    """What the person at the keyboard needs to know."""

    api_key: str
    login: str


def prepare() -> Installation:
    """Migrate, and see to the tenant, its key and the operator."""
    call_command("migrate", interactive=False, verbosity=0)
    return Installation(api_key=_api_key(), login=_login())


def _api_key() -> str:
    """The demo tenant's key: the kept one if this database knows it, otherwise a new one."""
    tenant = ensure_tenant("demo")
    path = settings.VAR_DIR / "demo-key"
    kept = path.read_text() if path.exists() else ""
    known = verify(kept)
    if known and known.tenant == tenant:
        return kept
    _, text = create_api_key(tenant, name="demo", actor="command:demo")
    keep_secret(path, text)
    return text


def _login() -> str:
    """Name and password of the operator, as far as the password is still the one we made."""
    path = settings.VAR_DIR / "demo-password"
    kept = path.read_text() if path.exists() else ""
    users = get_user_model().objects
    operator = users.filter(username=OPERATOR).first()
    if operator is None:
        kept = kept or secrets.token_urlsafe(12)
        keep_secret(path, kept)
        operator = users.create_superuser(OPERATOR, password=kept)
    if kept and operator.check_password(kept):
        return f"{OPERATOR} / {kept}"
    return f"{OPERATOR}, with the password you gave it"


def keep_secret(path: Path, text: str) -> None:
    """Write the file so that nobody but its owner can ever read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
