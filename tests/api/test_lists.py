"""Lists: filters, limits, pages. Rows 87 to 90 of the bad-input matrix."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from jobs import figures
from jobs.api import pages
from jobs.models import Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [job["id"] for job in response.json()["results"]]


def test_jobs_are_listed_newest_first(api: Caller) -> None:
    submitted = [api.submit()["id"] for _ in range(3)]
    answer = api.get("/jobs")
    assert ids(answer) == submitted[::-1]
    assert answer.json()["next"] is None


def test_pages_hold_every_job_once_while_others_arrive(api: Caller) -> None:
    submitted = [api.submit(tags=["t"])["id"] for _ in range(7)]
    seen, address = [], "/jobs?limit=2&tag=t"
    while address:
        answer = api.get(address)
        seen += ids(answer)
        api.submit(tags=["t"])
        following = answer.json()["next"]
        address = following and following.removeprefix("http://testserver")
    assert seen == submitted[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=PENDING", ["b", "a"]),
        ("status=PENDING,SCHEDULED", ["c", "b", "a"]),
        ("queue=mail", ["b"]),
        ("task=sleep", ["c"]),
        ("tag=red", ["c", "a"]),
        ("tag=red&status=PENDING", ["a"]),
        ("tag=blue", []),
    ],
)
def test_filters_narrow_the_list(api: Caller, query: str, expected: list[str]) -> None:
    names = {
        api.submit(tags=["red", "x"])["id"]: "a",
        api.submit(queue="mail")["id"]: "b",
        api.submit(
            task="sleep", payload={"seconds": 0}, tags=["red"], delay_seconds=60
        )["id"]: "c",
    }  # fmt: skip
    assert [names[i] for i in ids(api.get(f"/jobs?{query}"))] == expected


def test_times_narrow_the_list(api: Caller) -> None:
    job = api.submit()["id"]
    now = datetime.now(UTC)
    earlier, later = (quote((now + timedelta(days=d)).isoformat()) for d in (-2, 2))
    assert ids(api.get(f"/jobs?created_after={earlier}&created_before={later}")) == [job]
    assert ids(api.get(f"/jobs?created_after={later}")) == []
    assert ids(api.get(f"/jobs?created_before={earlier}")) == []


@pytest.mark.parametrize("query", ["queue=rare", "task=sleep", "status=DONE"])
def test_a_page_looks_at_so_many_jobs_and_the_next_leads_on(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(pages, "SEARCHED_AT_MOST", 3)
    old = make_job(alice, Status.DONE, queue="rare", task="sleep", payload=b"{}")
    for _ in range(4):
        api.submit()

    first = api.get(f"/jobs?{query}").json()
    second = api.get(first["next"].removeprefix("http://testserver")).json()

    assert first["results"] == []
    assert [job["id"] for job in second["results"]] == [str(old.pk)]
    assert second["next"] is None


def test_what_an_index_finds_is_on_the_first_page(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SEARCHED_AT_MOST", 1)
    old = make_job(alice, Status.FAILED, tags=("red",))
    for _ in range(3):
        api.submit()

    for query in ("status=FAILED", "status=FAILED,RUNNING", "tag=red"):
        assert ids(api.get(f"/jobs?{query}")) == [str(old.pk)]


def test_waits_are_measured_over_the_newest_jobs_alone(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_job(alice, Status.DONE)
    assert api.get("/metrics").json()["wait_seconds"]["p50"] is not None

    monkeypatch.setattr(figures, "SAMPLED_FROM", 2)
    api.submit()
    api.submit()

    assert api.get("/metrics").json()["wait_seconds"]["p50"] is None


def test_the_first_and_last_moments_are_times_like_others(api: Caller) -> None:
    job_id = api.submit()["id"]
    assert ids(api.get("/jobs?created_after=0001-01-01T00:00:00Z")) == [job_id]
    assert ids(api.get("/jobs?created_before=9999-12-31T23:59:59Z")) == [job_id]
    assert ids(api.get("/jobs?created_before=0001-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("order=payload", "unknown_parameter"),
        ("fields=secret", "unknown_parameter"),
        ("offset=10000000", "unknown_parameter"),
        ("format=xml", "unknown_parameter"),
        ("status=pending", "invalid_choice"),
        ("status=", "invalid_choice"),
        ("status=DONE&status=DLQ", "invalid_parameter"),
        ("queue=%00", "invalid_name"),
        ("tag=a%20b", "invalid_name"),
        ("limit=-1", "out_of_range"),
        ("limit=0", "out_of_range"),
        ("limit=201", "out_of_range"),
        ("limit=1e9", "out_of_range"),
        ("limit=abc", "out_of_range"),
        ("limit=%D9%A1", "out_of_range"),
        ("created_after=yesterday", "invalid_time"),
        ("created_after=2026-01-01T00:00:00", "timezone_required"),
        ("cursor=", "invalid_cursor"),
        ("cursor=%00", "invalid_cursor"),
        ("cursor=abc:def:ghi", "invalid_cursor"),
    ],
)
def test_parameters_are_strict(api: Caller, query: str, code: str) -> None:
    problem(api.get(f"/jobs?{query}"), 400, code)


def test_routes_without_parameters_take_none(api: Caller) -> None:
    for path in ("/queues", "/metrics", f"/jobs/{api.submit()['id']}"):
        problem(api.get(f"{path}?x=1"), 400, "unknown_parameter")


def test_a_cursor_serves_its_own_list_only(api: Caller, stranger: Caller, alice: Tenant) -> None:
    for caller in (api, stranger):
        caller.submit()
        caller.submit()
    cursor = api.get("/jobs?limit=1").json()["next"].partition("cursor=")[2]
    assert len(ids(api.get(f"/jobs?cursor={cursor}"))) == 1
    for refused in (
        stranger.get(f"/jobs?cursor={cursor}"),
        api.get(f"/jobs?cursor={cursor}&queue=default"),
        api.get(f"/dlq?cursor={cursor}"),
        api.get(f"/jobs?cursor={cursor[:-2]}xx"),
    ):
        problem(refused, 400, "invalid_cursor")


def test_a_page_ends_before_it_is_too_large(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 250)
    for _ in range(3):
        api.submit(payload="x" * 98)
    first = api.get("/jobs")
    assert len(ids(first)) == 2
    assert first.json()["next"]
    api.submit(payload="x" * 1_000)
    assert len(ids(api.get("/jobs"))) == 1


def test_dead_letters_are_listed_with_their_error(api: Caller, alice: Tenant) -> None:
    dead = make_job(alice, Status.DLQ, error_type="KeyError", error_message="'x'")
    make_job(alice, Status.DONE)
    (job,) = api.get("/dlq").json()["results"]
    assert job["id"] == str(dead.pk)
    assert job["error"] == {"type": "KeyError", "message": "'x'"}
    assert job["reason"] == "retries_exhausted"
    assert ids(api.get("/dlq?error_type=KeyError&queue=default&task=echo")) == [str(dead.pk)]
    assert ids(api.get("/dlq?error_type=ValueError")) == []
