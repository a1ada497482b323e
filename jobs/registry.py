"""Tasks: what a task of ours may say about itself, and how a job finds its function.

A job names its task: `echo` for a task that is exposed under a name of its own, otherwise the
import path of the function.
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Self

from django.apps import apps
from django.utils.module_loading import import_string

from jobs.backoff import Backoff
from jobs.conf import conf
from jobs.errors import UnknownTask
from jobs.remote import PREFIX, RemoteTask, is_remote
from jobs.tasksapi import InvalidTask, Task

_exposed: dict[str, "QueueTask"] = {}


class RawJSON(bytes):
    """A task's return value that is JSON already; it is stored as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTask(Task):
    """A task with the queue's own options; every field is an argument of `@task`.

    expose: name under which tenants may call it over REST; empty: not callable over REST
    takes_payload: the function takes one argument, the whole payload, and not keyword arguments
    killable: run in a child process, so that a timeout or a cancel ends it whatever it does
    max_retries: retries after the first attempt; None: the default of the installation
    timeout: seconds an attempt may take; None: the default of the installation
    backoff: waits between attempts; None: the default of the installation
    worker_tags: tags that a worker must have to run it, as in `runworkers --tags`
    tenant: slug of the owner of enqueued jobs; None: the backend's `tenant` option
    idempotency_key, tags: for one enqueue, given by `.using()`
    """

    expose: str = ""
    takes_payload: bool = False
    killable: bool = False
    max_retries: int | None = None
    timeout: float | None = None
    backoff: Backoff | None = None
    worker_tags: tuple[str, ...] = ()
    tenant: str | None = None
    idempotency_key: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Explicit arguments: zero-argument super() is lost when slots rebuild the class.
        Task.__post_init__(self)
        if isinstance(self.worker_tags, str):  # its letters would be tags that no worker has
            raise InvalidTask("worker_tags is a tuple of tags, not a text.")
        if is_remote(self.expose):
            raise InvalidTask(f"A name that begins with {PREFIX!r} is for workers of tenants.")
        if self.expose and _exposed.setdefault(self.expose, self).func is not self.func:
            taken = _exposed[self.expose].module_path
            raise InvalidTask(f"The name {self.expose!r} is taken by {taken}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Django's own way pickles a class method, which is not read back where Twisted is loaded.
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "func"}
        return _restore, (self.module_path, options)

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | None = None,
        backend: str | None = None,
        **options: Any,
    ) -> Self:
        """A copy with other options: Django's four, or any field of this class."""
        given: dict[str, Any] = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": run_after,
            "backend": backend,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changes, **options)

    @property
    def job_task(self) -> str:
        """What a job of this task has in its `task` column."""
        return self.expose or self.module_path

    @property
    def retries(self) -> int:
        """Retries after the first attempt."""
        return conf().default_max_retries if self.max_retries is None else self.max_retries

    @property
    def retry_policy(self) -> Backoff:
        """The waits between attempts."""
        default = Backoff(conf().backoff_base_seconds, conf().backoff_max_seconds)
        return self.backoff or default


def _restore(module_path: str, options: dict[str, Any]) -> QueueTask:
    task: QueueTask = import_string(module_path)
    return replace(task, **options)


@cache
def discover() -> None:
    """Import the `tasks` module of every installed app, so that exposed tasks are known."""
    for app in apps.get_app_configs():
        if find_spec(f"{app.name}.tasks"):
            import_module(f"{app.name}.tasks")


def exposed_tasks() -> dict[str, QueueTask]:
    """The tasks that tenants may call over REST, by name."""
    discover()
    return dict(_exposed)


def find_exposed(name: str) -> QueueTask:
    """The task that REST may call by this name. Raises `UnknownTask`."""
    known = exposed_tasks()
    if name not in known:
        raise UnknownTask(
            f"There is no task {name!r}; known are {', '.join(sorted(known))}, "
            f"and {PREFIX}… for a task of your own workers.",
            pointer="task",
        )
    return known[name]


def find_for_tenant(name: str) -> QueueTask | RemoteTask:
    """What tenants may submit jobs for by this name. Raises `UnknownTask`."""
    return RemoteTask(name) if is_remote(name) and name != PREFIX else find_exposed(name)


def is_for_tenants(name: str) -> bool:
    """Whether tenants may submit jobs for, and their own workers may run, tasks of this name."""
    return is_remote(name) or name in exposed_tasks()


def find(name: str) -> QueueTask:
    """The task that a job names, by its exposed name or import path. Raises `UnknownTask`."""
    if task := exposed_tasks().get(name):
        return task
    if is_remote(name):  # it is a tenant's choice, and must not be what is imported
        raise UnknownTask(f"The task {name!r} is for workers of its tenant.")
    try:
        found = import_string(name)
    except Exception as error:  # a module that fails to import can raise anything
        raise UnknownTask(f"The task {name!r} cannot be imported: {error!r}") from error
    if not isinstance(found, Task):
        raise UnknownTask(f"{name!r} is not a task.")
    return adopt(found)


def adopt(task: Task) -> QueueTask:
    """The task as one of ours, also if another backend's class made it."""
    if isinstance(task, QueueTask):
        return task
    options = {field.name: getattr(task, field.name) for field in fields(Task)}
    return QueueTask(**options)
