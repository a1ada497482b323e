"""Keys of an environment, and what is really stored, for tests of encryption at rest."""

import base64
from collections.abc import Iterator

from django.db import connection

from jobs import tenant_keys
from jobs.models import Tenant

ACTOR = "command:test"
CANARY = "canary-7f3a"


def entry(name: str, filling: int) -> str:
    """An entry of `ENCRYPTION_KEYS`: a key of 32 equal bytes."""
    return f"{name}:{base64.b64encode(bytes([filling]) * 32).decode()}"


FIRST, SECOND = entry("first", 1), entry("second", 2)


def encrypted(tenant: Tenant) -> Tenant:
    """The tenant, encrypted from now on."""
    tenant_keys.encrypt(tenant, actor=ACTOR)
    return tenant


def stored_text() -> str:
    """Everything that is in any table, as text."""
    return "\n".join(_cells())


def _cells() -> Iterator[str]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                yield from (_as_text(cell) for cell in row)


def _as_text(cell: object) -> str:
    if isinstance(cell, bytes | memoryview):
        return bytes(cell).decode("latin-1")
    return str(cell)
