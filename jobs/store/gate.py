"""The gate between claims and changes of settings.

Every claim passes the gate together with other claims; who changes a pause, a limit or a weight
passes it alone. So when the change is committed, no claim that saw the old settings is under way,
and every later one sees the new: the answer to a pause is a barrier. On SQLite there is one writer
at a time, which is the same.
"""

import random
import time

from django.db import OperationalError, connection, transaction

from jobs.store.dialect import frozen_timeout, is_postgresql

TURN = "200ms"
"""How long a change waits for the gate at a time: claims queue behind it meanwhile."""
PATIENCE_SECONDS = 10
_GATE = 7_204_001
"""Key of the advisory lock; of no meaning, only the same everywhere."""

_ALONE = f"SET LOCAL lock_timeout = '{TURN}'; SELECT pg_advisory_xact_lock({_GATE})"
_AS_BEFORE = "SET LOCAL lock_timeout TO DEFAULT"


def gate() -> list[str]:
    """What a claim runs first: until the end of the transaction, no settings change.

    A statement of its own, so that what follows it sees the settings in force. Who is frozen behind
    the gate is thrown out soon: nobody could change a setting until then.
    """
    if not is_postgresql():
        return []
    return [f"SELECT pg_advisory_xact_lock_shared({_GATE}), {frozen_timeout()}"]


def pass_gate_alone() -> None:
    """For a change of settings: wait for the claims under way, hold off new ones.

    Raises `OperationalError` if a claim holds the gate for `PATIENCE_SECONDS`.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("The gate is held for a transaction; open one first.")
    if is_postgresql():
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _waited_one_turn(is_last=time.monotonic() > deadline):
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311


def _waited_one_turn(*, is_last: bool) -> bool:
    """Wait for the gate; answers whether it is ours."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ALONE)
            cursor.execute(_AS_BEFORE)
    except OperationalError:
        if is_last:
            raise
        return False
    return True
