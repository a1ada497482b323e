"""How much waits in a lane, and since when."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import depths
from tests.factories import copy_job, make_job

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("cap", [5, 10_000])
def test_the_oldest_ready_job_is_found_wherever_its_row_lies(
    alice: Tenant, cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planner that knows the table reads it from its beginning, if nobody asks for an order."""
    copy_job(make_job(alice), 1_100)
    early = make_job(alice)
    Job.objects.filter(pk=early.pk).update(run_at=F("run_at") - timedelta(hours=5))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_job")
    monkeypatch.setattr(depths, "CAP", cap)
    (lane,) = depths.lanes_with_counts(alice.lanes.all())
    assert lane.oldest == Job.objects.get(pk=early.pk).run_at
    assert lane.waiting == min(cap + 1, 1_102)


def test_unusual_jobs_are_counted_by_lane_to_the_cap(
    alice: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depths, "CAP", 4)
    for queue, dead in (("few", 2), ("many", 9)):
        copy_job(make_job(alice, Status.DLQ, queue=queue), dead - 1)
    make_job(alice, Status.SCHEDULED, queue="few")
    make_job(mallory, Status.DLQ, queue="few")
    found = depths.unusual_by_lane(alice.lanes.values_list("pk", flat=True))
    by_queue = {lane.queue: found[lane.pk] for lane in alice.lanes.all()}
    empty = dict.fromkeys(depths.COUNTED, 0)
    assert by_queue["few"] == empty | {Status.DLQ: 2, Status.SCHEDULED: 1}
    assert by_queue["many"] == empty | {Status.DLQ: 4}
