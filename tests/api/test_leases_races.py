"""Many workers over REST at the same moment, beside one of ours: each job once, limits exact."""

import threading
from collections import Counter
from functools import partial

import pytest

from jobs import services, store
from jobs.leases import Wish, lease
from jobs.leases_reported import Done, acknowledge, release
from jobs.models import ApiKey, Job, Tenant
from jobs.statuses import Status
from jobs.store import Lease
from jobs.submission import NewJob
from tests.store.steps import finish, together

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS, LIMIT, JOBS = 6, 4, 60


def test_each_job_is_done_once_and_never_more_run_than_may(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=LIMIT)
    services.submit_many(alice, [NewJob(task="echo")] * JOBS)
    done: Counter[str] = Counter()
    counting = threading.Lock()
    mine, key = Job.objects.filter(tenant_id=alice.pk), ApiKey(tenant=alice)

    def is_open() -> bool:
        running = mine.filter(status=Status.RUNNING).count()
        assert running <= LIMIT
        return mine.exclude(status=Status.DONE).exists()

    def note(job_id: object) -> None:
        with counting:
            done[str(job_id)] += 1

    def work_over_rest(number: int) -> None:
        wish = Wish(tenant=alice, worker=f"rest/key/w{number}", max_jobs=3)
        while is_open():
            jobs = lease(wish)
            release(key, [Lease(job.pk, job.fence) for job in jobs[2:]])
            for told in acknowledge(key, [Done(job.pk, job.fence, b"1") for job in jobs[:2]]):
                assert told.refusal is None
                note(told.job_id)

    def work_here() -> None:
        while is_open():
            shares = [store.Share(lane.lane_id, 2) for lane in store.ready_lanes()]
            for job in store.claim("ours", shares, lease_seconds=30):
                assert finish(job, Status.DONE) == {job.id}
                note(job.id)

    together([*(partial(work_over_rest, n) for n in range(WORKERS)), work_here])
    assert len(done) == JOBS
    assert set(done.values()) == {1}
