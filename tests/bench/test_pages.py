"""The benchmark of the pages knows all of them, and the installation that it looks at is whole."""

from urllib.parse import parse_qs, urlsplit

import pytest

from bench import pages_list, pages_world, service_pages
from bench.scenario import BenchError, Settings
from jobs.job_filters import written
from jobs.models import Attempt, Job, JobTag, LaneMinute, Tenant
from jobs.statuses import Status
from jobs.store.minutes import Length, read_counts

JOBS, TENANTS, DAYS = 5_000, 4, 15


def test_every_route_is_measured_or_left_out() -> None:
    pages_list.refuse_unknown_routes()


def test_a_route_that_nobody_thought_of_makes_it_void(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_list, "NOT_MEASURED", pages_list.NOT_MEASURED - {"login"})
    with pytest.raises(BenchError, match="login"):
        pages_list.refuse_unknown_routes()


def test_no_filter_is_refused() -> None:
    for queries in (*pages_list.DASHBOARD.values(), *pages_list.API.values()):
        for text in (one for query in queries for one in parse_qs(query).get("filter", ())):
            assert written(text)


@pytest.mark.django_db(transaction=True)
def test_pages_of_an_installation_that_has_everything_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = pages_world.fill(JOBS, TENANTS, days_counted=DAYS)
    jobs = Job.objects.filter(tenant__in=world.tenants)
    assert jobs.count() == JOBS
    there = set(jobs.values_list("status", flat=True))
    assert there >= {Status.DONE, Status.DLQ, Status.PENDING, Status.SCHEDULED, Status.CANCELLED}
    assert jobs.filter(tenant=world.largest).count() > JOBS / TENANTS
    tagged = JobTag.objects.filter(job__in=jobs)
    assert tagged.count() == len([tags for tags in jobs.values_list("tags", flat=True) if tags])
    assert Attempt.objects.count() == jobs.filter(status__in=["DLQ", "FAILED"]).count()
    ids = list(Tenant.objects.values_list("pk", flat=True))
    assert len(read_counts("minute", ("done",), Length.DAY, ids, of_all=True)) >= DAYS
    assert LaneMinute.objects.exists()

    pages = {page.address: page for page in pages_list.pages(world)}
    asked = ("/", "/queues/", "/admin/jobs/job/", "/api/v1/jobs", "/metrics")
    chosen = [page for at, page in pages.items() if urlsplit(at).path in asked][:12]
    assert {urlsplit(page.address).path for page in chosen} >= {"/", "/queues/"}
    monkeypatch.setattr(pages_list, "pages", lambda _: iter(chosen))
    monkeypatch.setattr(pages_list, "first_pages", lambda _: iter(chosen[:1]))
    monkeypatch.setattr(pages_world, "fill", lambda *_: world)
    (sample,) = service_pages.pages(Settings(runs=1))
    assert sample["pages"].value == len(chosen)
    assert all(figure.value > 0 for figure in sample.values())
