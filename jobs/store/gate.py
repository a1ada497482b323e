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

WITH_OTHERS = f"SELECT pg_advisory_xact_lock_shared({_GATE})"
"""What a claim runs first, in a statement of its own: what follows sees the settings in force."""
_ALONE = f"SELECT pg_advisory_xact_lock({_GATE})"


def pass_gate() -> None:
    """For a claim: until the end of the transaction, no settings change."""
    _take(WITH_OTHERS)


def pass_gate_alone() -> None:
    """For a change of settings: wait for the claims under way, hold off new ones."""
    _take(_ALONE)


def _take(statement: str) -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("The gate is held for a transaction; open one first.")
    if is_postgresql():
        with connection.cursor() as cursor:
            cursor.execute(statement)
