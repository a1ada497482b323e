"""Tasks that the tests enqueue."""

from typing import Any

from jobs.backoff import Backoff
from jobs.tasksapi import TaskContext, task


@task
def add(a: int, b: int = 0) -> int:
    """A plain task."""
    return a + b


@task
async def add_async(a: int, b: int = 0) -> int:
    """A task that is a coroutine."""
    return a + b


@task(takes_context=True)
def about(context: TaskContext, subject: str) -> str:
    """A task with a context."""
    return f"{subject}, attempt {context.attempt}"


@task(
    max_retries=7,
    timeout=2.5,
    backoff=Backoff(1, 8),
    killable=True,
    priority=5,
    queue_name="slow",
)
def demanding(**wishes: Any) -> dict[str, Any]:
    """A task with options of its own."""
    return wishes


@task(worker_tags=("linux", "gpu"))
def picky() -> None:
    """A task that not every worker may run."""


@task(takes_payload=True)
def whole(payload: Any) -> Any:
    """A task whose only argument is the whole payload."""
    return payload


def not_a_task() -> None:
    """A function that nobody made a task."""
