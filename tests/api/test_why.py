"""Why a job waits always has an answer."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.models import Tenant, Worker
from jobs.services import change_limits, set_queue_paused
from jobs.statuses import Status
from jobs.why import explain
from tests.api.conftest import Caller
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker(db: None) -> Worker:
    now = timezone.now()
    return Worker.objects.create(
        id="w1", host="h", pid=1, slots=4, running=0, started_at=now, seen_at=now
    )


def codes(job: object) -> list[str]:
    return [gate.code for gate in explain(job).gates]  # type: ignore[arg-type]


def test_the_next_in_line_waits_for_nothing_else(alice: Tenant, worker: Worker) -> None:
    explanation = explain(make_job(alice))
    assert [gate.code for gate in explanation.gates] == ["in_line"]
    assert explanation.text == "The job is the next of its queue."


def test_the_place_in_line_follows_priority_and_age(alice: Tenant, worker: Worker) -> None:
    first, second = make_job(alice), make_job(alice)
    urgent, idle = make_job(alice, priority=9), make_job(alice, priority=-9)
    make_job(alice, queue="other", priority=100)
    places = [explain(job).gates[-1].used for job in (urgent, first, second, idle)]
    assert places == [0, 1, 2, 3]


def test_without_a_worker_that_is_the_reason(alice: Tenant) -> None:
    assert codes(make_job(alice)) == ["no_worker", "in_line"]


@pytest.mark.parametrize(
    "change",
    [
        {"queues": ["other"]},
        {"is_draining": True},
        {"stopped_at": timezone.now()},
        {"seen_at": timezone.now() - timedelta(hours=1)},
    ],
    ids=str,
)
def test_a_worker_that_does_not_serve_the_queue_does_not_count(
    alice: Tenant, worker: Worker, change: dict[str, object]
) -> None:
    Worker.objects.filter(pk=worker.pk).update(**change)
    assert "no_worker" in codes(make_job(alice))


def test_full_workers_are_a_reason(alice: Tenant, worker: Worker) -> None:
    Worker.objects.update(running=4)
    gate = explain(make_job(alice)).gates[0]
    assert (gate.code, gate.used, gate.limit) == ("workers_busy", 4, 4)


def test_the_tenants_limit_is_a_reason(alice: Tenant, worker: Worker) -> None:
    make_job(alice, Status.RUNNING)
    change_limits(alice, actor="command:test", max_running=1)
    gate = explain(make_job(alice)).gates[0]
    assert (gate.code, gate.used, gate.limit) == ("tenant_limit", 1, 1)


def test_the_queues_limit_is_a_reason(alice: Tenant, worker: Worker) -> None:
    make_job(alice, Status.RUNNING)
    change_limits(alice.lanes.get(), actor="command:test", max_running=1)
    gate = explain(make_job(alice)).gates[0]
    assert (gate.code, gate.used, gate.limit) == ("queue_limit", 1, 1)


def test_pause_and_inactivity_are_reasons(alice: Tenant, worker: Worker) -> None:
    job = make_job(alice)
    set_queue_paused(alice, "default", paused=True, actor="command:test")
    change_limits(alice, actor="command:test", is_active=False)
    assert codes(job) == ["tenant_inactive", "queue_paused", "in_line"]


def test_a_job_may_wait_for_its_time(alice: Tenant, worker: Worker) -> None:
    assert codes(make_job(alice, Status.SCHEDULED)) == ["scheduled"]
    explanation = explain(make_job(alice, Status.FAILED, error_type="KeyError"))
    assert [gate.code for gate in explanation.gates] == ["backoff"]
    assert "KeyError" in explanation.text


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (Status.DONE, "done"),
        (Status.CANCELLED, "cancelled"),
        (Status.DLQ, "retries exhausted"),
        (Status.RUNNING, "test-worker"),
    ],
)
def test_a_job_that_does_not_wait_has_no_gates(alice: Tenant, status: Status, word: str) -> None:
    explanation = explain(make_job(alice, status))
    assert explanation.gates == ()
    assert word in explanation.text


def test_the_api_tells_it(api: Caller) -> None:
    answer = api.get(f"/jobs/{api.submit()['id']}/why").json()
    assert answer["status"] == "PENDING"
    assert answer["text"] == answer["gates"][0]["text"]
    assert [gate["code"] for gate in answer["gates"]] == ["no_worker", "in_line"]
