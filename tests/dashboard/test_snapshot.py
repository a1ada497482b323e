"""The small read notices what people could see, names its tenant, and stays small."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.template.loader import get_template
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.snapshot import REGIONS, changed_regions, read_snapshot
from jobs import services, store
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

Change = Callable[[Tenant], object]


def _claim(tenant: Tenant) -> None:
    lane = tenant.lanes.get(queue="ready")
    assert store.claim("w", [store.Share(lane.pk, 1)], lease_seconds=30)


def _finish(tenant: Tenant) -> None:
    job = Job.objects.get(tenant=tenant, status=Status.RUNNING)
    outcome = store.Outcome(
        job_id=job.pk,
        fence=job.fence,
        lane_id=job.lane_id,
        tenant_id=tenant.pk,
        status=Status.DONE,
        result=b"1",
    )
    assert store.finish("w", [outcome])


def _redrive(tenant: Tenant) -> None:
    dead = Job.objects.get(tenant=tenant, status=Status.DLQ)
    assert services.redrive([dead.pk], actor="user:ann", tenant=tenant)


def _pause(tenant: Tenant) -> None:
    services.set_queue_paused(tenant, "ready", paused=True, actor="user:ann")


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a submission": (lambda t: make_job(t, queue="new"), {"tiles", "jobs", "queues", "attention"}),
    "a claim": (_claim, {"tiles", "jobs", "job", "queues"}),
    "an ending": (_finish, {"tiles", "jobs", "job", "throughput", "queues"}),
    "a redrive": (_redrive, {"tiles", "jobs", "job", "dead", "attention"}),
    "a pause": (_pause, {"queues", "attention"}),
    "new limits": (
        lambda t: services.change_limits(t, actor="user:ann", max_running=3),
        {"tenants", "attention"},
    ),
}


@pytest.fixture
def world(alice: Tenant, mallory: Tenant) -> None:
    """Alice has a job that runs, a dead letter and one that is ready; so has Mallory."""
    for tenant in (alice, mallory):
        make_job(tenant, Status.RUNNING, queue="running")
        make_job(tenant, Status.DLQ, queue="dead")
        make_job(tenant, queue="ready")


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed(world: None, alice: Tenant, name: str) -> None:
    change, expected = CHANGES[name]
    before = read_snapshot(None)

    change(alice)
    changed = changed_regions(before, read_snapshot(None))

    assert expected <= set(changed)
    assert all(alice.pk in tenants for tenants in changed.values())


@pytest.mark.parametrize("name", ["a submission", "a claim", "an ending"])
def test_a_change_of_one_tenant_is_no_news_of_another(
    world: None, alice: Tenant, mallory: Tenant, name: str
) -> None:
    before = read_snapshot(None)

    CHANGES[name][0](alice)
    changed = changed_regions(before, read_snapshot(None))

    assert not [region for region, tenants in changed.items() if mallory.pk in tenants]


def test_nothing_new_is_no_change(world: None) -> None:
    assert changed_regions(read_snapshot(None), read_snapshot(None)) == {}


def test_a_tenant_that_comes_or_goes_is_news(
    world: None, alice: Tenant, make_tenant: Callable[..., Tenant]
) -> None:
    before = read_snapshot(None)
    late = make_tenant("late")
    after = read_snapshot(None)

    everything = {region: {late.pk} for region in REGIONS}
    assert changed_regions(before, after) == everything
    assert changed_regions(after, before) == everything


def test_a_worker_that_comes_is_noticed(world: None) -> None:
    before, now = read_snapshot(None), timezone.now()

    Worker.objects.create(id="w", host="h", pid=1, slots=1, started_at=now, seen_at=now)

    changed = set(changed_regions(before, read_snapshot(None)))
    assert changed >= {"attention", "start", "workers"}
    assert changed.isdisjoint({"jobs", "queues", "throughput"})


def test_only_the_tenants_that_are_watched_are_read(
    world: None, alice: Tenant, mallory: Tenant
) -> None:
    assert set(read_snapshot({alice.pk})) == {alice.pk}
    assert set(read_snapshot(None)) == {alice.pk, mallory.pk}
    assert read_snapshot(set()) == {}


def test_the_read_is_a_few_statements_however_many_jobs(
    world: None, make_tenant: Callable[..., Tenant]
) -> None:
    for number in range(5):
        make_job(make_tenant(f"tenant-{number}"), Status.DONE)

    with CaptureQueriesContext(connection) as captured:
        read_snapshot(None)

    assert len(captured) == 5


def test_every_region_has_a_template() -> None:
    for region in REGIONS:
        get_template(f"dashboard/partials/{region}.html")
