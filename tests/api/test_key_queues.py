"""A key that is limited to some queues: what else its tenant has is as if it were not there."""

from typing import Any

import pytest

from jobs import operations
from jobs.keys import create_api_key
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def mailer(alice: Tenant) -> Caller:
    """A key with every scope for the queue `mail` alone."""
    return Caller(create_api_key(alice, queues=["mail"], actor="command:test")[1])


def test_it_submits_to_its_queues_alone(mailer: Caller) -> None:
    mailer.submit(queue="mail")
    problem(mailer.post("/jobs", {"queue": "other"}), 403, "queue_not_allowed")
    problem(mailer.post("/jobs", {}), 403, "queue_not_allowed")
    several = {"jobs": [{"queue": "mail"}, {"queue": "other"}]}
    problem(mailer.post("/jobs/bulk", several), 403, "queue_not_allowed")
    assert Job.objects.count() == 1


JOB_CALLS = [("GET", ""), ("GET", "/why"), ("POST", "/cancel"), ("POST", "/retry")]


@pytest.mark.parametrize(("method", "call"), JOB_CALLS)
def test_a_job_of_another_queue_is_absent(
    mailer: Caller, alice: Tenant, method: str, call: str
) -> None:
    other, own = make_job(alice, queue="other"), make_job(alice, queue="mail")
    problem(mailer.call(method, f"/jobs/{other.pk}{call}"), 404, "not_found")
    assert mailer.call(method, f"/jobs/{own.pk}{call}").status_code in {200, 409}


@pytest.mark.parametrize("status", [Status.PENDING, Status.DLQ])
def test_lists_hold_its_queues_alone(mailer: Caller, alice: Tenant, status: Status) -> None:
    for queue in ("mail", "other"):
        make_job(alice, status, queue=queue)
    for path in ("/jobs", f"/jobs?status={status}", f"/jobs?queue=mail&status={status}"):
        assert [job["queue"] for job in mailer.get(path).json()["results"]] == ["mail"], path
    assert mailer.get("/jobs?queue=other").json()["results"] == []
    assert [queue["name"] for queue in mailer.get("/queues").json()["results"]] == ["mail"]
    if status is Status.DLQ:
        assert [job["queue"] for job in mailer.get("/dlq").json()["results"]] == ["mail"]


def test_dead_letters_of_another_queue_stay(mailer: Caller, alice: Tenant) -> None:
    other = make_job(alice, Status.DLQ, queue="other")
    make_job(alice, Status.DLQ, queue="mail")
    assert mailer.post("/dlq/redrive", {"ids": [str(other.pk)]}).json()["count"] == 0
    assert mailer.post("/dlq/redrive", {"task": "echo"}).json()["count"] == 1
    problem(mailer.call("DELETE", f"/dlq/{other.pk}"), 404, "not_found")
    other.refresh_from_db()
    assert other.status == Status.DLQ


def test_another_queue_is_not_stopped(mailer: Caller, alice: Tenant) -> None:
    for queue in ("mail", "other"):
        make_job(alice, queue=queue)
    problem(mailer.post("/queues/other/pause"), 403, "queue_not_allowed")
    assert mailer.post("/queues/mail/pause").json()["paused"]
    assert not alice.lanes.get(queue="other").is_paused


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/metrics", None), ("GET", "/keys", None), ("POST", "/keys", {"scopes": ["admin"]})],
)
def test_what_is_of_the_whole_tenant_is_not_for_it(
    mailer: Caller, method: str, path: str, body: Any
) -> None:
    problem(mailer.call(method, path, body), 403, "queue_not_allowed")


@pytest.mark.parametrize(
    ("queues", "text"),
    [
        (["mail"], " ".join(f"-tag:t{number}" for number in range(30))),
        ([f"{'q' * 100}-{number}" for number in range(100)], "status:PENDING"),
    ],
)
def test_an_operation_may_have_any_filter_that_a_list_may_have(
    alice: Tenant, queues: list[str], text: str
) -> None:
    limited = Caller(create_api_key(alice, queues=queues, actor="command:test")[1])
    other, own = make_job(alice, queue="other"), make_job(alice, queue=queues[0])
    begun = limited.post("/operations", {"action": "cancel", "filter": text})
    assert begun.status_code == 202, begun.content
    while operations.step("w") == 0:
        pass
    ended = limited.get(f"/operations/{begun.json()['id']}").json()
    assert (ended["state"], ended["done"]) == ("DONE", 1)
    assert [Job.objects.get(pk=job.pk).status for job in (other, own)] == ["PENDING", "CANCELLED"]
