"""Submitting jobs: defaults, fields, times, tasks. Rows 35 to 58 of the bad-input matrix."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from jobs.models import Job, Lane, Tenant
from jobs.services import change_limits
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db

JOB_MEMBERS = {
    *("id", "task", "queue", "status", "priority", "payload", "result", "error", "attempt"),
    *("max_retries", "run_at", "created_at", "started_at", "finished_at", "lease_expires_at"),
    *("timeout_seconds", "tags", "worker_tags", "idempotency_key", "worker"),
    *("lost_count", "cancel_requested", "reason", "unreadable"),
}


def test_an_empty_object_submits_an_echo_with_every_default(api: Caller) -> None:
    job = api.submit()
    assert set(job) == JOB_MEMBERS
    assert job["task"] == "echo"
    assert (job["queue"], job["status"], job["priority"]) == ("default", "PENDING", 0)
    assert (job["payload"], job["result"], job["error"], job["worker"]) == (None,) * 4
    assert (job["attempt"], job["max_retries"]) == (0, 3)
    assert (job["tags"], job["worker_tags"]) == ([], [])
    assert job["run_at"][:19] == job["created_at"][:19]
    assert job["created_at"].endswith("Z")


def test_the_answer_says_where_the_job_is(api: Caller) -> None:
    response = api.post("/jobs", {"payload": 1})
    assert response["Location"] == f"/api/v1/jobs/{response.json()['id']}"
    assert api.get(response["Location"]).json()["id"] == response.json()["id"]


def test_every_field_is_taken(api: Caller) -> None:
    job = api.submit(
        task="sleep",
        payload={"seconds": 1},
        queue="mail.eu:1",
        priority=-100,
        delay_seconds=90.5,
        max_retries=0,
        timeout_seconds=7,
        idempotency_key="k",
        tags=["b", "a", "b"],
        worker_tags=["linux", "gpu", "linux"],
    )
    assert job["worker_tags"] == ["gpu", "linux"]
    assert (job["task"], job["payload"], job["queue"]) == ("sleep", {"seconds": 1}, "mail.eu:1")
    assert (job["priority"], job["max_retries"], job["timeout_seconds"]) == (-100, 0, 7.0)
    assert (job["idempotency_key"], job["tags"], job["status"]) == ("k", ["b", "a"], "SCHEDULED")


@pytest.mark.parametrize(("word", "number"), [("low", -50), ("normal", 0), ("high", 50)])
def test_priorities_have_names(api: Caller, word: str, number: int) -> None:
    assert api.submit(priority=word)["priority"] == number


def test_a_whole_number_may_be_written_with_a_fraction(api: Caller) -> None:
    assert api.post("/jobs", raw=b'{"max_retries": 7.0}').json()["max_retries"] == 7


def test_null_means_not_given_where_a_field_is_optional(api: Caller) -> None:
    job = api.submit(run_at=None, delay_seconds=None, timeout_seconds=None, idempotency_key=None)
    assert (job["status"], job["idempotency_key"]) == ("PENDING", None)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"state": "DONE"}, "unknown_field", "/state"),
    ({"fence": 1}, "unknown_field", "/fence"),
    ({"a/b~c": 1}, "unknown_field", "/a~1b~0c"),
    ({"task": 5}, "invalid_type", "/task"),
    ({"task": "no such task"}, "unknown_task", "/task"),
    ({"task": "jobs.tasks.echo"}, "unknown_task", "/task"),
    ({"queue": ""}, "invalid_name", "/queue"),
    ({"queue": "a b"}, "invalid_name", "/queue"),
    ({"queue": "a\n"}, "invalid_name", "/queue"),
    ({"queue": "q" * 129}, "invalid_name", "/queue"),
    ({"queue": "😀"}, "invalid_name", "/queue"),
    ({"queue": "<script>"}, "invalid_name", "/queue"),
    ({"queue": 5}, "invalid_type", "/queue"),
    ({"queue": True}, "invalid_type", "/queue"),
    ({"queue": ["q"]}, "invalid_type", "/queue"),
    ({"queue": None}, "invalid_type", "/queue"),
    ({"priority": 101}, "out_of_range", "/priority"),
    ({"priority": -101}, "out_of_range", "/priority"),
    ({"priority": 2**70}, "out_of_range", "/priority"),
    ({"priority": "1"}, "invalid_choice", "/priority"),
    ({"priority": "HIGH"}, "invalid_choice", "/priority"),
    ({"priority": 1.0}, "invalid_type", "/priority"),
    ({"priority": 1.5}, "invalid_type", "/priority"),
    ({"priority": True}, "invalid_type", "/priority"),
    ({"priority": None}, "invalid_type", "/priority"),
    ({"max_retries": -1}, "out_of_range", "/max_retries"),
    ({"max_retries": 10**6}, "out_of_range", "/max_retries"),
    ({"max_retries": 1.5}, "invalid_type", "/max_retries"),
    ({"timeout_seconds": 0}, "out_of_range", "/timeout_seconds"),
    ({"timeout_seconds": -1}, "out_of_range", "/timeout_seconds"),
    ({"timeout_seconds": 10**300}, "out_of_range", "/timeout_seconds"),
    ({"timeout_seconds": "5"}, "invalid_type", "/timeout_seconds"),
    ({"timeout_seconds": True}, "invalid_type", "/timeout_seconds"),
    ({"delay_seconds": -1}, "out_of_range", "/delay_seconds"),
    ({"delay_seconds": 10**9}, "out_of_range", "/delay_seconds"),
    ({"delay_seconds": "1"}, "invalid_type", "/delay_seconds"),
    ({"tags": "a"}, "invalid_type", "/tags"),
    ({"tags": [1]}, "invalid_type", "/tags"),
    ({"tags": ["a b"]}, "invalid_name", "/tags"),
    ({"tags": ["x" * 1_000_000]}, "invalid_name", "/tags"),
    ({"tags": [f"t{n}" for n in range(21)]}, "invalid_input", "/tags"),
    ({"tags": ["t"] * 21}, "invalid_input", "/tags"),
    ({"worker_tags": ["gpu"] * 6}, "invalid_input", "/worker_tags"),
    ({"worker_tags": "gpu"}, "invalid_type", "/worker_tags"),
    ({"worker_tags": None}, "invalid_type", "/worker_tags"),
    ({"worker_tags": ["a,b"]}, "invalid_name", "/worker_tags"),
    ({"worker_tags": [f"t{n}" for n in range(6)]}, "invalid_input", "/worker_tags"),
    ({"idempotency_key": ""}, "invalid_input", "/idempotency_key"),
    ({"idempotency_key": "k" * 256}, "invalid_input", "/idempotency_key"),
    ({"idempotency_key": "é"}, "invalid_input", "/idempotency_key"),
    ({"idempotency_key": 7}, "invalid_type", "/idempotency_key"),
    ({"run_at": "2026-03-29T02:30:00"}, "timezone_required", "/run_at"),
    ({"run_at": 1_700_000_000}, "invalid_type", "/run_at"),
    ({"run_at": "infinity"}, "invalid_time", "/run_at"),
    ({"run_at": "2026-01-01"}, "invalid_time", "/run_at"),
    ({"run_at": "2026-01-01 00:00:00Z"}, "invalid_time", "/run_at"),
    ({"run_at": "0000-01-01T00:00:00Z"}, "invalid_time", "/run_at"),
    ({"run_at": "294277-01-01T00:00:00Z"}, "invalid_time", "/run_at"),
    ({"run_at": "2016-12-31T23:59:60Z"}, "invalid_time", "/run_at"),
    ({"run_at": "2026-02-30T00:00:00Z"}, "invalid_time", "/run_at"),
    ({"run_at": "2026-01-01T00:00:00+99:00"}, "invalid_time", "/run_at"),
    ({"run_at": "9999-12-31T23:59:59-12:00"}, "invalid_time", "/run_at"),
    ({"run_at": "0001-01-01T00:00:00+14:00"}, "invalid_time", "/run_at"),
    ({"run_at": "٢٠٢٦-01-01T00:00:00Z"}, "invalid_time", "/run_at"),
    ({"run_at": "2090-01-01T00:00:00Z"}, "out_of_range", "/run_at"),
    ({"run_at": "2020-01-01T00:00:00Z", "delay_seconds": 1}, "invalid_input", "/delay_seconds"),
    ({"tenant_id": 1.5}, "invalid_type", "/tenant_id"),
    ({"task": "sleep"}, "invalid_payload", "/payload"),
    ({"task": "sleep", "payload": 3}, "invalid_payload", "/payload"),
    ({"task": "sleep", "payload": {"second": 3}}, "invalid_payload", "/payload"),
    ({"task": "sleep", "payload": {"seconds": 3, "x": 1}}, "invalid_payload", "/payload"),
    ({"task": "fail", "payload": {"context": 1}}, "invalid_payload", "/payload"),
]


@pytest.mark.usefixtures("nothing_lost")
@pytest.mark.parametrize(("body", "code", "pointer"), WRONG, ids=[str(w[0])[:60] for w in WRONG])
def test_a_wrong_field_is_named(api: Caller, body: dict[str, Any], code: str, pointer: str) -> None:
    answer = problem(api.post("/jobs", body), 400, code)
    assert [error["pointer"] for error in answer["errors"]] == [pointer]


def test_all_wrong_fields_are_named_at_once(api: Caller) -> None:
    answer = problem(api.post("/jobs", {"queue": 1, "priority": "x"}), 400, "invalid_input")
    assert {error["pointer"] for error in answer["errors"]} == {"/queue", "/priority"}


def test_a_hundred_wrong_fields_make_a_short_answer(api: Caller) -> None:
    response = api.post("/jobs", {f"{n}" * 100: n for n in range(100)})
    problem(response, 400, "unknown_field")  # which asserts the size


@pytest.mark.parametrize(
    ("run_at", "instant"),
    [
        ("2020-01-01T00:00:00Z", None),
        ("1970-01-01t00:00:00z", None),
    ],
)
def test_a_time_that_has_passed_means_now(api: Caller, run_at: str, instant: None) -> None:
    assert api.submit(run_at=run_at)["status"] == "PENDING"


def test_a_later_time_is_kept_whatever_its_offset(api: Caller) -> None:
    later = datetime.now(UTC).replace(microsecond=123_000) + timedelta(days=2)
    for offset in (timedelta(0), timedelta(hours=5, minutes=30), timedelta(hours=-12)):
        local = later.astimezone(tz=__import__("datetime").timezone(offset))
        job = api.submit(run_at=local.isoformat())
        assert job["status"] == "SCHEDULED"
        assert datetime.fromisoformat(job["run_at"]) == later


def test_missing_arguments_are_named(api: Caller) -> None:
    answer = problem(api.post("/jobs", {"task": "sleep", "payload": {}}), 400, "invalid_payload")
    assert "missing 'seconds'" in answer["detail"]


@pytest.mark.parametrize("others", [{}, {"seconds": 3}])
def test_names_in_a_payload_are_not_repeated(api: Caller, others: dict[str, int]) -> None:
    payload = {"secret-4111": 1, **others}
    refused = api.post("/jobs", {"task": "sleep", "payload": payload})
    refused = problem(refused, 400, "invalid_payload")
    assert "'seconds'" in refused["detail"]
    assert "4111" not in str(refused)


def test_a_task_with_optional_arguments_needs_no_payload(api: Caller) -> None:
    assert api.submit(task="fail")["payload"] == {}


def test_a_task_of_its_own_limits_gives_the_defaults(api: Caller) -> None:
    job = api.submit(task="http_request", payload={"url": "https://example.com"})
    assert job["timeout_seconds"] == 60


@pytest.mark.parametrize("form", ["slug", "number", "text"])
def test_the_own_tenant_may_be_named(api: Caller, alice: Tenant, form: str) -> None:
    named = {"slug": alice.slug, "number": alice.pk, "text": str(alice.pk)}[form]
    api.submit(tenant_id=named)
    assert Job.objects.get().tenant_id == alice.pk


def test_another_tenant_may_not_be_named(api: Caller, mallory: Tenant) -> None:
    for named in (mallory.slug, mallory.pk, "nobody", -1):
        problem(api.post("/jobs", {"tenant_id": named}), 403, "foreign_tenant")
    assert not Job.objects.exists()


def test_a_switched_off_tenant_submits_nothing(api: Caller, alice: Tenant) -> None:
    change_limits(alice, actor="command:test", is_active=False)
    problem(api.post("/jobs", {}), 403, "tenant_inactive")


@pytest.mark.parametrize("fields", [{}, {"idempotency_key": "k"}, {"tags": ["t"]}])
def test_a_tenant_that_was_just_deleted_elsewhere_submits_nothing(
    api: Caller, alice: Tenant, fields: dict[str, Any]
) -> None:
    assert api.get("/queues").status_code == 200  # from now on this process remembers the tenant
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM jobs_apikey WHERE tenant_id = %s", [alice.pk])
        cursor.execute("DELETE FROM jobs_tenant WHERE id = %s", [alice.pk])
    problem(api.post("/jobs", fields), 403, "tenant_inactive")


def test_bulk_answers_the_ids_in_order(api: Caller) -> None:
    response = api.post("/jobs/bulk", {"jobs": [{"payload": n} for n in range(1_000)]})
    assert response.status_code == 201
    payloads = {str(job.pk): bytes(job.payload) for job in Job.objects.all()}
    assert [payloads[i] for i in response.json()["ids"]] == [b"%d" % n for n in range(1_000)]


def test_jobs_of_a_bulk_name_the_tags_of_their_workers(api: Caller) -> None:
    jobs = [{"worker_tags": ["linux", "gpu"]}, {}]
    ids = api.post("/jobs/bulk", {"jobs": jobs}).json()["ids"]
    assert [api.get(f"/jobs/{i}").json()["worker_tags"] for i in ids] == [["gpu", "linux"], []]
    answer = problem(
        api.post("/jobs/bulk", {"jobs": [{}, {"worker_tags": ["a b"]}]}), 400, "invalid_name"
    )
    assert answer["errors"][0]["pointer"] == "/jobs/1/worker_tags"


def test_one_wrong_job_of_a_bulk_refuses_all(api: Caller) -> None:
    jobs: list[Any] = [{} for _ in range(501)]
    jobs[499] = {"priority": "x"}
    answer = problem(api.post("/jobs/bulk", {"jobs": jobs}), 400, "invalid_choice")
    assert answer["errors"][0]["pointer"] == "/jobs/499/priority"
    assert not Job.objects.exists()


@pytest.mark.parametrize("jobs", [None, {}, "x", 5])
def test_a_bulk_without_a_list_is_refused(api: Caller, jobs: Any) -> None:
    problem(api.post("/jobs/bulk", {"jobs": jobs}), 400, "invalid_type")


@pytest.mark.parametrize("item", [1, None, "x", []])
def test_a_bulk_item_that_is_no_object_is_named(api: Caller, item: Any) -> None:
    answer = problem(api.post("/jobs/bulk", {"jobs": [{}, item]}), 400, "not_an_object")
    assert answer["errors"][0]["pointer"] == "/jobs/1"


def test_a_bulk_of_too_many_is_refused(api: Caller) -> None:
    problem(api.post("/jobs/bulk", {"jobs": [{}] * 1_001}), 413, "too_large")
    assert not Job.objects.exists()


def test_a_bulk_item_may_not_name_another_tenant(api: Caller, mallory: Tenant) -> None:
    body = {"jobs": [{}, {"tenant_id": mallory.slug}]}
    problem(api.post("/jobs/bulk", body), 403, "foreign_tenant")
    assert not Job.objects.exists()


def test_above_the_rate_a_tenant_waits(api: Caller, alice: Tenant) -> None:
    change_limits(alice, actor="command:test", submissions_per_minute=2)
    first = api.post("/jobs", {})
    assert first["RateLimit-Policy"] == '"submissions";q=2;w=60'
    assert first["RateLimit"].startswith('"submissions";r=1;t=')
    assert api.post("/jobs", {})["RateLimit"].startswith('"submissions";r=0;t=')
    refused = api.post("/jobs", {})
    problem(refused, 429, "rate_limited")
    assert 1 <= int(refused["Retry-After"]) <= 61
    assert refused["RateLimit-Policy"] == '"submissions";q=2;w=60'
    assert refused["RateLimit"] == f'"submissions";r=0;t={refused["Retry-After"]}'
    problem(api.post("/jobs/bulk", {"jobs": [{}]}), 429, "rate_limited")
    assert Job.objects.count() == 2


def test_a_full_queue_refuses(api: Caller, alice: Tenant) -> None:
    change_limits(alice, actor="command:test", max_pending=1)
    api.submit()
    refused = api.post("/jobs", {})
    problem(refused, 429, "queue_full")
    assert int(refused["Retry-After"]) > 0


def test_a_submission_makes_the_queue(api: Caller, alice: Tenant) -> None:
    api.submit(queue="new")
    assert Lane.objects.filter(tenant=alice, queue="new").exists()


def test_everything_that_is_wrong_is_said_at_once(api: Caller) -> None:
    body = {"priority": "x", "max_retries": -1, "foo": 1, "task": "nope", "delay_seconds": 1e9}
    answer = problem(api.post("/jobs", body), 400, "invalid_input")
    codes = {error["pointer"]: error["code"] for error in answer["errors"]}
    assert codes == {
        "/priority": "invalid_choice",
        "/foo": "unknown_field",
        "/max_retries": "out_of_range",
        "/delay_seconds": "out_of_range",
        "/task": "unknown_task",
    }
    assert "delay_seconds must be from 0 to 31622400." in str(answer["errors"])


def test_the_time_that_an_error_shows_is_accepted(api: Caller) -> None:
    answer = problem(api.post("/jobs", {"run_at": "soon"}), 400, "invalid_time")
    shown = answer["detail"].removesuffix(".").rpartition(" ")[2]
    assert api.submit(run_at=shown)["status"] == "SCHEDULED"


def test_a_bulk_without_jobs_is_refused(api: Caller) -> None:
    problem(api.post("/jobs/bulk", {"jobs": []}), 400, "out_of_range")
