"""Remote tasks: a tenant's own workers run them over REST, in any language. Nothing of ours does.

The name says it, `remote:resize`, so that a task that is deployed here later can never take over
a tenant's jobs, and a name that is only misspelt is still refused.
"""

from dataclasses import dataclass

from jobs.conf import conf

PREFIX = "remote:"


def is_remote(task: str) -> bool:
    """Whether jobs of this task are for workers of their tenant alone."""
    return task.startswith(PREFIX)


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """What a submission asks of a task, for one of which nothing is known but its name."""

    job_task: str
    queue_name: str = "default"
    priority: int = 0
    timeout: float | None = None
    worker_tags: tuple[str, ...] = ()

    @property
    def retries(self) -> int:
        """Retries after the first attempt: the default of the installation."""
        return conf().default_max_retries


class LeftToOthers(set[str]):
    """The tasks that a worker process of ours leaves alone: what is added, and every remote one."""

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or (isinstance(task, str) and is_remote(task))
