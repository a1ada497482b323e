"""What the tests of the engine share."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobs import services, store
from jobs.models import Job, Tenant
from jobs.submission import NewJob
from tests.harness import wait_until
from tests.workers.slots import Slots

Submit = Callable[..., Job]


@pytest.fixture
def submit(alice: Tenant) -> Submit:
    """Submits a job of Alice's, by the name of a task of tests.workers.tasks or a full name."""

    def do(task: str, payload: bytes = b"{}", **fields: Any) -> Job:
        name = task if "." in task or task in {"echo", "sleep"} else f"tests.workers.tasks.{task}"
        new = NewJob(task=name, payload=payload, **fields)
        return Job.objects.get(pk=services.submit(alice, new).job_id)

    return do


def wait_for(job: Job, *statuses: str, timeout: float = 60) -> Job:
    """Wait until the job has one of the statuses."""

    def reached() -> bool:
        job.refresh_from_db()
        return job.status in statuses

    wait_until(reached, timeout, f"job {job.task} gets {' or '.join(statuses)}, is {job.status}")
    return job


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[store.ReadyLane]]:
    """What each look at the lanes has found."""
    found: list[Sequence[store.ReadyLane]] = []
    look = store.ready_lanes

    def noted(*args: object, **options: object) -> Sequence[store.ReadyLane]:
        found.append(look(*args, **options))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(store, "ready_lanes", noted)
    return found
