"""How much waits in a lane, and since when."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from jobs.models import Job, Tenant
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
