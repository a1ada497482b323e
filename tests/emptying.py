"""Empties the database after a test that committed, in place of Django's `flush`.

That makes the files of every table anew, and all permissions: a tenth of a second on PostgreSQL,
hundreds of times. Here the tables that have rows are emptied, and permissions stay.
"""

from django.db import connection, transaction

KEPT = {"django_content_type", "auth_permission"}
"""What comes with the tables, and is never changed."""


def empty_tables() -> None:
    """Delete all rows that a test can have made."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(_name_if_filled(t) for t in tables if t not in KEPT))
        filled = [name for (name,) in cursor.fetchall()]
        if filled and connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
            return
        for name in filled:  # in any order: references are looked at when all is done
            cursor.execute(f"DELETE FROM {name}")


def _name_if_filled(table: str) -> str:
    return f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})"
