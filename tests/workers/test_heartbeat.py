"""The heartbeat tells that the process is there."""

import pytest

from jobs.models import Worker
from tests.harness import running_workers, wait_until


@pytest.mark.django_db(transaction=True)
def test_worker_that_was_taken_for_gone_announces_itself_again() -> None:
    with running_workers(heartbeat_seconds=0.5) as (worker,):
        (worker_id,) = worker.worker_ids()
        Worker.objects.all().delete()
        wait_until(lambda: worker.worker_ids() == [worker_id], 60, "it is there again")
