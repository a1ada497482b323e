"""Looking at jobs, and what may be done to them."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs import figures, job_search
from jobs.api import dead_letter_views
from jobs.models import Attempt, AuditEntry, Job, Tenant
from jobs.services import change_limits
from jobs.statuses import Status
from jobs.store import depths
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def test_a_job_is_shown_with_its_failed_attempts(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, error_type="KeyError", error_message="'x'", traceback="T")
    answer = api.get(f"/jobs/{job.pk}").json()
    (attempt,) = answer["attempts"]
    assert attempt["number"] == answer["attempt"] == 1
    assert attempt["error"] == answer["error"] == {"type": "KeyError", "message": "'x'"}
    assert (attempt["outcome"], attempt["traceback"]) == ("failed", "T")
    assert attempt["worker"]
    assert attempt["finished_at"].endswith("Z")


def test_a_result_is_shown_byte_for_byte(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE, result=b'{"a" : 1.10}')
    assert b'"result": {"a" : 1.10}' in api.get(f"/jobs/{job.pk}").content


CANCEL = {
    Status.PENDING: (200, "CANCELLED"),
    Status.SCHEDULED: (200, "CANCELLED"),
    Status.FAILED: (200, "CANCELLED"),
    Status.RUNNING: (200, "RUNNING"),
    Status.CANCELLED: (200, "CANCELLED"),
    Status.DONE: (409, "DONE"),
    Status.DLQ: (409, "DLQ"),
}
RETRY = {
    Status.FAILED: (200, "PENDING"),
    Status.DLQ: (200, "PENDING"),
    Status.PENDING: (409, "PENDING"),
    Status.SCHEDULED: (409, "SCHEDULED"),
    Status.RUNNING: (409, "RUNNING"),
    Status.CANCELLED: (409, "CANCELLED"),
    Status.DONE: (409, "DONE"),
}
TABLE = [("cancel", *row) for row in CANCEL.items()] + [("retry", *row) for row in RETRY.items()]


@pytest.mark.parametrize(("action", "status", "expected"), TABLE)
def test_an_action_is_allowed_by_the_status(
    api: Caller, alice: Tenant, action: str, status: Status, expected: tuple[int, str]
) -> None:
    job = make_job(alice, status)
    response = api.post(f"/jobs/{job.pk}/{action}")
    if expected[0] == 409:
        problem(response, 409, "status_conflict")
    else:
        assert (response.status_code, response.json()["status"]) == expected
    job.refresh_from_db()
    assert job.status == expected[1]


def test_cancelling_a_running_job_asks_its_worker(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.RUNNING)
    assert api.post(f"/jobs/{job.pk}/cancel").json()["cancel_requested"] is True


def test_an_action_names_the_key_in_the_audit_log(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ)
    api.post(f"/jobs/{job.pk}/retry")
    entry = AuditEntry.objects.get(action="retry")
    assert (entry.actor, entry.target) == (
        f"key:{alice.api_keys.get().prefix}",
        str(job.pk),
    )


def test_dead_letters_are_redriven_by_id(api: Caller, alice: Tenant) -> None:
    dead = [make_job(alice, Status.DLQ) for _ in range(3)]
    done = make_job(alice, Status.DONE)
    wanted = [str(job.pk) for job in (*dead[:2], done)]
    answer = api.post("/dlq/redrive", {"ids": wanted}).json()
    assert answer["count"] == 2
    assert sorted(answer["ids"]) == sorted(wanted[:2])
    assert Job.objects.filter(status=Status.PENDING).count() == 2


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"queue": "a"}, 2),
        ({"error_type": "KeyError"}, 1),
        ({"queue": "a", "error_type": "KeyError"}, 1),
        ({"queue": "b", "error_type": "KeyError"}, 0),
        ({"task": "echo"}, 3),
        ({"task": "sleep"}, 0),
    ],
)
def test_dead_letters_are_redriven_by_filter(
    api: Caller, alice: Tenant, body: dict[str, Any], count: int
) -> None:
    make_job(alice, Status.DLQ, queue="a", error_type="KeyError")
    make_job(alice, Status.DLQ, queue="a")
    make_job(alice, Status.DLQ, queue="b")
    answer = api.post("/dlq/redrive", body).json()
    assert (answer["count"], answer["more"]) == (count, False)
    assert Job.objects.filter(status=Status.PENDING).count() == count


def test_rare_dead_letters_are_looked_for_among_a_few_at_a_time(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_search, "LOOKED_AT", 2)
    monkeypatch.setattr(dead_letter_views, "MAX_REDRIVE", 2)
    queues = ("b", "b", "b", "b", "a", "b", "b", "a", "a", "a", "b")
    dead = [make_job(alice, Status.DLQ, queue=queue) for queue in queues]
    moved: list[str] = []
    with CaptureQueriesContext(connection) as read:
        for _ in range(20):
            answer = api.post("/dlq/redrive", {"queue": "a"}).json()
            assert answer["count"] <= 2
            assert answer["count"] or not answer["more"]
            moved += sorted(answer["ids"])
            if not answer["more"]:
                break
    assert moved == [str(job.pk) for job in dead if job.queue == "a"]
    looked = [q["sql"] for q in read.captured_queries if '"queue" IN' in q["sql"]]
    assert looked
    assert all("LIMIT" in sql for sql in looked)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_input"),
        ({"ids": [str(uuid.uuid4())], "queue": "a"}, "invalid_input"),
        ({"ids": []}, "out_of_range"),
        ({"ids": "x"}, "invalid_type"),
        ({"ids": ["x"]}, "invalid_id"),
        ({"ids": [5]}, "invalid_id"),
        ({"ids": [str(uuid.uuid4())] * 1_001}, "out_of_range"),
        ({"ids": [], "rate_per_second": 5}, "out_of_range"),
        ({"queue": 5}, "invalid_type"),
        ({"task": ""}, "invalid_name"),
        ({"task": "", "rate_per_second": 5}, "invalid_name"),
        ({"error_type": "x" * 201}, "invalid_parameter"),
        ({"error_type": "a\nb"}, "invalid_parameter"),
        ({"status": "DLQ"}, "unknown_field"),
    ],
)
@pytest.mark.usefixtures("nothing_lost")
def test_a_redrive_says_what_it_is_about(api: Caller, body: dict[str, Any], code: str) -> None:
    told = problem(api.post("/dlq/redrive", body), 400, code)
    assert told["detail"].startswith(("Give ", "There is ", *body))


def test_a_discarded_dead_letter_is_gone_with_its_attempts(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ)
    response = api.call("DELETE", f"/dlq/{job.pk}")
    assert (response.status_code, response.content) == (204, b"")
    assert not Job.objects.exists()
    assert not Attempt.objects.exists()
    problem(api.call("DELETE", f"/dlq/{job.pk}"), 404, "not_found")


def test_only_a_dead_letter_is_discarded(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DONE)
    problem(api.call("DELETE", f"/dlq/{job.pk}"), 409, "status_conflict")
    assert Job.objects.exists()


def test_queues_tell_their_depth_age_limits_and_pause(api: Caller, alice: Tenant) -> None:
    for status in (Status.DLQ, Status.FAILED, Status.DONE, Status.RUNNING, Status.PENDING):
        make_job(alice, status, queue="mail")
    make_job(alice, Status.SCHEDULED, queue="other")
    change_limits(alice.lanes.get(queue="mail"), actor="command:test", max_running=7)
    mail, other = api.get("/queues").json()["results"]
    assert (mail["name"], mail["max_running"], mail["paused"], mail["dead"]) == (
        *("mail", 7, False, 1),
    )
    live = {"SCHEDULED": 0, "BLOCKED": 0, "PENDING": 1, "RUNNING": 1, "FAILED": 1}
    assert mail["depth"] == live
    assert 0 <= mail["oldest_waiting_seconds"] < 60
    assert (other["depth"]["SCHEDULED"], other["oldest_waiting_seconds"]) == (1, None)


def test_a_queue_is_paused_and_resumed(api: Caller, alice: Tenant) -> None:
    job = api.submit(queue="mail")
    assert api.post("/queues/mail/pause").json()["paused"] is True
    gates = api.get(f"/jobs/{job['id']}/why").json()["gates"]
    assert "queue_paused" in [gate["code"] for gate in gates]
    assert api.post("/queues/mail/resume").json()["paused"] is False
    assert list(AuditEntry.objects.values_list("action", flat=True)[:2]) == ["resume", "pause"]


def test_a_pause_says_who_and_why(api: Caller, alice: Tenant) -> None:
    make_job(alice, queue="mail")
    reason = 'the mail server is down, see "status" & <b>\u20ac</b>'
    paused = api.post("/queues/mail/pause", {"reason": reason}).json()
    assert (paused["pause_reason"], paused["paused_by"][:4]) == (reason, "key:")
    assert api.get("/queues/mail").json()["pause_reason"] == reason
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.details["after"]["reason"]) == ("pause", reason)
    again = api.post("/queues/mail/pause").json()
    assert (again["paused_at"], again["pause_reason"]) == (paused["paused_at"], reason)
    resumed = api.post("/queues/mail/resume").json()
    assert (resumed["paused_by"], resumed["pause_reason"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"reason": "x" * 201}, "invalid_input"),
        ({"reason": "one\ntwo"}, "invalid_input"),
        ({"reason": "\u001b[2J"}, "invalid_input"),
        ({"reason": None}, "invalid_type"),
        ({"reason": ["down"]}, "invalid_type"),
        ({"why": "down"}, "unknown_field"),
    ],
)
def test_a_reason_is_one_line(api: Caller, alice: Tenant, body: Any, code: str) -> None:
    make_job(alice, queue="mail")
    problem(api.post("/queues/mail/pause", body), 400, code)
    problem(api.post("/queues/mail/resume", {"reason": "up"}), 400, "unknown_field")
    assert api.get("/queues/mail").json()["paused"] is False


def test_a_queue_without_a_job_yet_cannot_be_paused(api: Caller) -> None:
    problem(api.post("/queues/none/pause"), 404, "not_found")


def test_the_figures_count_every_status(api: Caller, alice: Tenant) -> None:
    for status in (Status.DLQ, Status.FAILED, Status.DONE, Status.DONE, Status.CANCELLED):
        make_job(alice, status)
    make_job(alice, Status.RUNNING)
    make_job(alice, Status.PENDING)
    figures = api.get("/metrics").json()
    assert figures["counts"] == {
        **dict.fromkeys(("DLQ", "FAILED", "CANCELLED", "RUNNING", "PENDING"), 1),
        **{"DONE": 2, "SCHEDULED": 0, "BLOCKED": 0},
    }
    assert sum(minute["done"] for minute in figures["throughput"]) == 2
    for name in ("wait_seconds", "run_seconds"):
        assert all(0 <= figures[name][p] < 60 for p in ("p50", "p95", "p99"))
    assert figures["limits"] == dict.fromkeys(
        ("max_running", "starts_per_minute", "submissions_per_minute", "max_pending")
    )


@pytest.mark.parametrize("call", ["GET /queues", "GET /queues/mail", "POST /queues/mail/pause"])
def test_the_depth_of_a_queue_is_counted_to_a_cap(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for module in (figures, depths):
        monkeypatch.setattr(module, "CAP", 2)
    for status in (Status.DLQ, Status.SCHEDULED, Status.PENDING):
        for queue in ("mail", "mail", "mail", "other"):
            make_job(alice, status, queue=queue)
    answer = api.call(*call.split()).json()
    mail = answer["results"][0] if "results" in answer else answer
    assert (mail["name"], mail["dead"]) == ("mail", 2)
    assert mail["depth"] == {"SCHEDULED": 2, "BLOCKED": 0, "PENDING": 2, "RUNNING": 0, "FAILED": 0}
    assert mail["oldest_waiting_seconds"] >= 0


def test_the_figures_count_to_a_cap(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "CAP", 2)
    for status in (Status.DONE, Status.DLQ, Status.PENDING):
        for _ in range(3):
            make_job(alice, status)
    counts = api.get("/metrics").json()["counts"]
    assert (counts["PENDING"], counts["DLQ"], counts["DONE"]) == (2, 2, 3)


@pytest.mark.parametrize(
    "call", ["GET /queues", "POST /queues/mail/pause", "POST /queues/mail/resume", "GET /metrics"]
)
def test_no_answer_to_a_tenant_counts_its_whole_backlog(
    api: Caller, alice: Tenant, call: str
) -> None:
    """What runs is no backlog: workers have so many slots."""
    make_job(alice, Status.PENDING, queue="mail")
    with CaptureQueriesContext(connection) as read:
        assert api.call(*call.split()).status_code == 200
    counting = [query["sql"] for query in read.captured_queries if "jobs_job" in query["sql"]]
    unbounded = [sql for sql in counting if "count(" in sql.lower() and "LIMIT" not in sql]
    assert counting
    assert [sql for sql in unbounded if "status = 'RUNNING'" not in sql] == []


def test_a_new_tenant_has_figures_too(api: Caller) -> None:
    figures = api.get("/metrics").json()
    assert set(figures["counts"].values()) == {0}
    assert figures["wait_seconds"] == {"p50": None, "p95": None, "p99": None}
