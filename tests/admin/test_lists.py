"""The lists show what there is, at a bounded cost, and give nothing away."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from jobs.admin import lists
from jobs.admin.jobs import listed_in_status
from jobs.lookup import in_unusual_index
from jobs.models import DeadLetter, Job, TaskLimit, Tenant, Worker
from jobs.statuses import Status
from tests.factories import make_job

Queries = Callable[..., AbstractContextManager[list[str]]]
LISTS = ["deadletter", "job", "tenant", "lane", "tasklimit", "apikey", "worker", "auditentry"]
READ_ONLY = ["deadletter", "job", "worker", "auditentry"]


@pytest.fixture
def world(alice: Tenant, mallory: Tenant) -> dict[Status, Job]:
    """A job in every status but BLOCKED, a worker, and with the cancelled job an audit entry."""
    now = timezone.now()
    Worker.objects.create(id="w1", host="box", pid=7, slots=4, started_at=now, seen_at=now)
    make_job(mallory, Status.DLQ)
    for tenant in (alice, None):
        TaskLimit.objects.create(tenant=tenant, task="echo", max_running=5)
    statuses = [status for status in Status if status is not Status.BLOCKED]
    return {status: make_job(alice, status, queue=status.value) for status in statuses}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("world")
def test_every_list_loads_with_data(operator: Client, name: str) -> None:
    assert operator.get(f"/admin/jobs/{name}/").status_code == 200


@pytest.mark.parametrize("name", LISTS)
def test_every_list_loads_without_data(operator: Client, name: str) -> None:
    assert operator.get(f"/admin/jobs/{name}/").status_code == 200


@pytest.mark.usefixtures("world")
def test_every_row_has_a_page(operator: Client) -> None:
    for name in LISTS:
        for row in operator.get(f"/admin/jobs/{name}/").context["cl"].result_list:
            assert operator.get(f"/admin/jobs/{name}/{row.pk}/change/").status_code == 200


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.usefixtures("world")
def test_queries_do_not_grow_with_the_rows(
    operator: Client, name: str, queries: Queries, alice: Tenant, make_tenant: Callable[..., Tenant]
) -> None:
    with queries(at_most=14) as before:
        operator.get(f"/admin/jobs/{name}/")
    for number in range(5):
        make_job(make_tenant(f"t{number}"), Status.DLQ)
    with queries(at_most=14) as after:
        operator.get(f"/admin/jobs/{name}/")
    assert len(after) == len(before)


@pytest.mark.parametrize("name", ["job", "deadletter", "tenant", "auditentry"])
@pytest.mark.parametrize("filters", ["", "?tenant=alice", "?q=echo", "?status=DONE", "?p=2"])
@pytest.mark.usefixtures("world")
def test_nothing_is_counted_without_a_bound(
    operator: Client, name: str, filters: str, queries: Queries
) -> None:
    with queries(at_most=20) as statements:
        operator.get(f"/admin/jobs/{name}/{filters}")
    of_jobs = [text for text in statements if 'FROM "jobs_job"' in text]
    assert [text for text in of_jobs if "COUNT(" in text and "LIMIT" not in text] == []


def test_a_list_pages_as_far_as_it_counts(
    operator: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "COUNTED_AT_MOST", 3)
    monkeypatch.setattr(lists.BoundedList, "list_per_page", 2)
    for _ in range(5):
        make_job(alice)
    page = operator.get("/admin/jobs/job/")
    assert "More than 3 jobs" in " ".join(page.text.split())
    assert operator.get("/admin/jobs/job/?p=2").status_code == 200
    assert operator.get("/admin/jobs/job/?p=3").status_code == 302


@pytest.mark.usefixtures("world")
def test_jobs_are_filtered_by_status_and_tenant(operator: Client) -> None:
    assert _statuses(operator, "?status=DLQ") == ["DLQ", "DLQ"]
    assert _statuses(operator, "?status=DLQ&tenant=mallory") == ["DLQ"]
    assert _statuses(operator, "?tenant=nobody") == []


def test_a_job_is_found_by_its_id_and_by_the_start_of_it(
    operator: Client, world: dict[Status, Job]
) -> None:
    job = world[Status.DONE]
    assert _found(operator, str(job.pk)) == [job.pk]
    assert _found(operator, job.pk.hex.upper()) == [job.pk]
    assert job.pk in _found(operator, str(job.pk)[:8])
    assert _found(operator, "0fffffff") == []


def test_a_job_is_found_by_task_and_by_error(operator: Client, alice: Tenant) -> None:
    paid = make_job(alice, Status.FAILED, task="pay.invoice", error_message="card refused")
    make_job(alice, task="echo")
    assert _found(operator, "pay.") == [paid.pk]
    assert _found(operator, "Card") == [paid.pk]
    assert _found(operator, "valueerr") == [paid.pk]
    assert _found(operator, "invoice") == []


def test_text_is_looked_for_in_the_newest_jobs_alone(
    operator: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, newest = (make_job(alice) for _ in range(3))
    monkeypatch.setattr("jobs.admin.jobs.SEARCHED_AT_MOST", 2)
    assert _found(operator, "echo") == [newest.pk, new.pk]
    assert _found(operator, str(old.pk)) == [old.pk]


def test_what_an_index_finds_is_found_however_old(
    operator: Client, alice: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_job(mallory, Status.DLQ, task="pay", tags=("vip",))
    make_job(alice, Status.DLQ)
    monkeypatch.setattr("jobs.admin.jobs.SEARCHED_AT_MOST", 1)
    for found in ("?q=mallory", "?tenant=mallory", f"?q={old.pk}", "?tenant=mallory&q=vip"):
        assert _dead(operator, found) == [old.pk]
    for not_among_the_newest in ("?task=pay", "?q=vip", "?q=pay"):
        assert _dead(operator, not_among_the_newest) == []
    for those_of in ("tenant=mallory", "q=mallory", f"q={old.pk}"):
        assert _dead(operator, f"?{those_of}&task=pay&queue=default") == [old.pk]


def test_the_same_is_found_whether_it_is_remembered_by_ids_or_not(
    operator: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make_job(alice, Status.DLQ, tags=("vip",)) for _ in range(3)]
    make_job(alice, Status.DLQ)
    for bound in (2, 3):
        monkeypatch.setattr("jobs.admin.jobs.FOUND_AT_ONCE", bound)
        assert _dead(operator, "?q=vip") == [job.pk for job in reversed(jobs)]


@pytest.mark.parametrize("lookup", ["payload__contains=x", "task__regex=x", "tenant__slug=alice"])
@pytest.mark.parametrize("name", ["job", "deadletter"])
def test_the_address_takes_no_free_lookups(operator: Client, name: str, lookup: str) -> None:
    assert operator.get(f"/admin/jobs/{name}/?{lookup}").status_code == 400


@pytest.mark.parametrize("name", READ_ONLY)
@pytest.mark.usefixtures("world")
def test_what_the_system_writes_cannot_be_edited(operator: Client, name: str) -> None:
    row = operator.get(f"/admin/jobs/{name}/").context["cl"].result_list[0]
    assert operator.get(f"/admin/jobs/{name}/add/").status_code == 403
    assert operator.post(f"/admin/jobs/{name}/add/", {}).status_code == 403
    assert operator.post(f"/admin/jobs/{name}/{row.pk}/change/", {"task": "x"}).status_code == 403
    assert operator.post(f"/admin/jobs/{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.usefixtures("world")
def test_rows_are_never_deleted_in_bulk(operator: Client) -> None:
    for name in LISTS:
        assert "delete_selected" not in operator.get(f"/admin/jobs/{name}/").text


def test_staff_without_rights_sees_nothing(staff: Callable[..., Client]) -> None:
    client = staff()
    for name in LISTS:
        assert client.get(f"/admin/jobs/{name}/").status_code == 403


def test_a_worker_is_shown_with_its_state(operator: Client, db: None) -> None:
    now = timezone.now()
    some = {"host": "box", "pid": 7, "slots": 4, "started_at": now}
    Worker.objects.create(id="fresh", seen_at=now, tags=["gpu", "arm"], **some)
    Worker.objects.create(id="leaving", seen_at=now, is_draining=True, **some)
    Worker.objects.create(id="hung", seen_at=now - timezone.timedelta(hours=1), **some)
    Worker.objects.create(id="gone", seen_at=now, stopped_at=now, **some)
    page = operator.get("/admin/jobs/worker/").text
    for state in ("live", "draining", "stale", "stopped"):
        assert f'<td class="field-state">{state}</td>' in page
    assert '<td class="field-tag_names">gpu, arm</td>' in page


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (lambda: DeadLetter.objects.order_by("-pk")[:50], "job_dead"),
        (lambda: DeadLetter.objects.filter(in_unusual_index(), tenant=1)[:50], "job_unusual"),
        (lambda: listed_in_status(Job.objects.all(), "CANCELLED")[:50], "job_unusual"),
        (lambda: listed_in_status(Job.objects.all(), "RUNNING")[:50], "job_running"),
        (lambda: listed_in_status(Job.objects.filter(tenant=1), "FAILED")[:50], "job_unusual"),
        (lambda: Job.objects.filter(tenant=1)[:50], "job_of_tenant"),
    ],
)
def test_lists_are_served_by_an_index(
    db: None, query: Callable[[], QuerySet[Job]], index: str
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("plans there depend on how many rows there are")
    assert index in query().explain()


def test_a_status_is_found_whether_few_or_many_are_in_it(
    operator: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make_job(alice, Status.DLQ) for _ in range(3)]
    for bound in (1, 100):
        monkeypatch.setattr("jobs.admin.jobs.COUNTED_AT_MOST", bound)
        found = operator.get("/admin/jobs/job/?status=DLQ").context["cl"].result_list
        assert [row.pk for row in found] == [job.pk for job in reversed(jobs)]


def _statuses(client: Client, filters: str) -> list[str]:
    rows = client.get(f"/admin/jobs/job/{filters}").context["cl"].result_list
    return [row.status for row in rows]


def _dead(client: Client, filters: str) -> list[object]:
    page = client.get(f"/admin/jobs/deadletter/{filters}")
    return [row.pk for row in page.context["cl"].result_list]


def _found(client: Client, text: str) -> list[object]:
    page = client.get("/admin/jobs/job/", {"q": text})
    return [row.pk for row in page.context["cl"].result_list]


def test_ready_jobs_of_a_tenant_are_listed_newest_first(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    older, newer = make_job(alice), make_job(alice, queue="mail")
    make_job(alice, Status.DONE, queue="done")
    make_job(mallory)
    shown = operator.get("/admin/jobs/job/?status=PENDING&tenant=alice").context["cl"].result_list
    assert [job.pk for job in shown] == [newer.pk, older.pk]
    assert not operator.get("/admin/jobs/job/?status=PENDING&tenant=bob").context["cl"].result_count
