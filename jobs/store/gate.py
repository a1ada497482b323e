"""The gate between claims and changes of settings.

Every claim passes the gate together with other claims; who changes a pause, a limit or a weight
passes it alone. So when the change is committed, no claim that saw the old settings is under way,
and every later one sees the new: the answer to a pause is a barrier. On SQLite there is one writer
at a time, which is the same.
"""

from django.db import connection

from jobs.store.dialect import is_postgresql

_GATE = 7_204_001
"""Key of the advisory lock; of no meaning, only the same everywhere."""

_WITH_OTHERS = f"SELECT pg_advisory_xact_lock_shared({_GATE})"
_ALONE = f"SELECT pg_advisory_xact_lock({_GATE})"


def gate() -> list[str]:
    """What a claim runs first: until the end of the transaction, no settings change.

    A statement of its own, so that what follows it sees the settings in force.
    """
    return [_WITH_OTHERS] if is_postgresql() else []


def pass_gate_alone() -> None:
    """For a change of settings: wait for the claims under way, hold off new ones."""
    if not connection.in_atomic_block:
        raise RuntimeError("The gate is held for a transaction; open one first.")
    if is_postgresql():
        with connection.cursor() as cursor:
            cursor.execute(_ALONE)
