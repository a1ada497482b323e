"""Whose turn it is to do what one process at a time does: who comes first sets the next time."""

from jobs.store.dialect import execute

_TAKE = """
INSERT INTO jobs_chore AS chore (name, not_before) VALUES (%(name)s, IN_SECONDS(%(seconds)s))
ON CONFLICT (name) DO UPDATE SET not_before = excluded.not_before
WHERE chore.not_before <= NOW()"""


def take_turn(chore: str, seconds: float) -> bool:
    """Whether it is our turn; then nobody else has one for so many seconds."""
    return execute(_TAKE, {"name": chore, "seconds": float(seconds)}) == 1


_KEEP = "UPDATE jobs_chore SET not_before = IN_SECONDS(%(seconds)s) WHERE name = %(name)s"


def keep_turn(chore: str, seconds: float) -> None:
    """While it takes longer: nobody else has a turn for so many seconds from now."""
    execute(_KEEP, {"name": chore, "seconds": float(seconds)})
