"""Tasks that put what they were given wherever they can."""

from jobs.backoff import Backoff
from jobs.tasksapi import task


class Broken(Backoff):
    """A wait that cannot be computed."""

    def delay(self, attempt: int, rng: object) -> float:
        """Raises."""
        raise ArithmeticError(f"no wait after attempt {attempt}")


@task(max_retries=0)
def spill(secret: str) -> None:
    """Die of an error that repeats the payload, with another one as its cause."""
    try:
        _ = {}[secret]
    except KeyError as error:
        raise ValueError(f"cannot use {secret}") from error


@task(max_retries=2, backoff=Broken(1, 1))
def spill_and_break(secret: str) -> None:
    """Die so that not even the end of the attempt can be concluded."""
    raise ValueError(f"cannot use {secret}")


@task(max_retries=0)
def spill_unprintably(secret: str) -> object:
    """Return what is no JSON, and what shows the payload when it is printed."""
    return {secret: {secret}}


@task(max_retries=0)
async def spill_in_loop(secret: str) -> str:
    """Die on the event loop."""
    raise RuntimeError(secret)


@task(killable=True, max_retries=0)
def spill_in_child(secret: str) -> str:
    """Die in a process of its own."""
    raise RuntimeError(secret)


@task()
def keep(secret: str) -> str:
    """Return the payload."""
    return secret
