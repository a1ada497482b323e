"""Lists: filters, limits, pages. Rows 87 to 90 of the bad-input matrix."""

import runpy
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from jobs import figures, job_search
from jobs.filters import MAX_CHARACTERS, MAX_ENCODED, MAX_TEXT
from jobs.models import Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.architecture.rules import ROOT
from tests.factories import make_job

LONGEST_CURSOR = 300
"""In an address: twice what cursors take."""

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


def listed(api: Caller, text: str, names: dict[str, str]) -> str:
    return "".join(sorted(names[i] for i in ids(api.get(f"/jobs?filter={quote(text)}"))))


def test_a_filter_narrows_the_list(api: Caller, alice: Tenant) -> None:
    made = {
        "a": make_job(alice, Status.DLQ, queue="mail", tags=("vip",), error_type="ReadTimeout"),
        "b": make_job(alice, Status.FAILED, queue="mail", error_message="100% Full"),
        "c": make_job(alice, Status.DONE, queue="sms", tags=("vip", "test"), priority=7),
        "d": make_job(alice, Status.RUNNING, queue="sms", task="sleep", payload=b"{}"),
        "e": make_job(alice, Status.SCHEDULED, idempotency_key="order-17", priority=-7),
        "f": make_job(alice, Status.PENDING, queue="sms"),
    }
    names = {str(job.pk): name for name, job in made.items()}
    dead, running = made["a"].pk, made["d"]
    expected = {
        "": "abcdef",
        "status:DLQ,FAILED": "ab",
        "-status:DONE,PENDING": "abde",
        "status:PENDING,dlq": "af",
        "queue:mail": "ab",
        "-queue:mail,sms": "e",
        "task:sleep": "d",
        "tag:vip": "ac",
        "tag:vip -tag:test": "a",
        "tag:vip,test status:DONE": "c",
        "error:timeout": "a",
        'error:"100% f"': "b",
        "error:1__": "",
        "error_type:ReadTimeout": "a",
        "error_type:Read": "",
        "key:order-17": "e",
        "-key:order-17": "abcdf",
        "worker:test-w status:RUNNING": "d",
        "priority:>0": "c",
        "priority:7,-7": "ce",
        "-priority:>=7": "abdef",
        "attempt:<1": "ef",
        "created:<1h": "abcdef",
        "created:>1h": "",
        "run_at:<1h queue:default": "e",
        "finished:<1h": "ac",
        "-finished:<1h": "bdef",
        f"id:{dead}": "a",
        f"id:{dead},{running.pk} status:RUNNING": "d",
        f"id:{str(dead)[:4]}": "abcdef",
        f"{dead}": "a",
        "order-17": "e",
        "timeout": "a",
        "MAIL": "ab",
        "-mail": "cdef",
        "mail timeout": "a",
    }
    assert {text: listed(api, text, names) for text in expected} == expected


def test_a_filter_and_parameters_hold_together(api: Caller) -> None:
    job = api.submit(queue="mail", tags=["red"])
    api.submit(queue="mail")
    assert ids(api.get("/jobs?filter=tag:red&queue=mail")) == [job["id"]]
    assert ids(api.get("/jobs?filter=tag:red&queue=other")) == []


def test_dead_letters_are_filtered_as_jobs_are(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, error_type="ReadTimeout")
    make_job(alice, Status.FAILED, error_type="ReadTimeout")
    assert ids(api.get("/dlq?filter=error:timeout")) == [str(job.pk)]
    assert ids(api.get("/dlq?filter=status:FAILED")) == []


def test_a_filter_without_an_index_pages_through_statuses(
    api: Caller, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_search, "LOOKED_AT", 2)
    wanted = [
        str(make_job(alice, status, queue=f"q{number % 2}").pk)
        for number in range(6)
        for status in (Status.FAILED, Status.DONE, Status.DLQ, Status.CANCELLED)
    ]
    every = seen(api, "/jobs?limit=3&filter=status:FAILED,DLQ,CANCELLED")
    half = seen(api, "/jobs?limit=3&filter=queue:q1%20-status:DONE")
    assert every == [job_id for n, job_id in enumerate(wanted) if n % 4 != 1][::-1]
    assert half == [job_id for n, job_id in enumerate(wanted) if n % 4 != 1 and n // 4 % 2][::-1]


def seen(api: Caller, address: str | None) -> list[str]:
    """The ids on all pages."""
    found = []
    while address:
        answer = api.get(address)
        found += ids(answer)
        following = answer.json()["next"]
        address = following and following.removeprefix("http://testserver")
    return found


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
    monkeypatch.setattr(job_search, "LOOKED_AT", 3)
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
    monkeypatch.setattr(job_search, "LOOKED_AT", 1)
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
        ("filter=statsu:DLQ", "unknown_word"),
        ("filter=created:2h", "invalid_filter"),
        ("filter=queue:%00", "invalid_name"),
        ("filter=%00", "invalid_parameter"),
        ("filter=a&filter=b", "invalid_parameter"),
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
@pytest.mark.usefixtures("nothing_lost")
def test_parameters_are_strict(api: Caller, query: str, code: str) -> None:
    problem(api.get(f"/jobs?{query}"), 400, code)


def test_routes_without_parameters_take_none(api: Caller) -> None:
    for path in ("/queues", "/metrics", f"/jobs/{api.submit()['id']}"):
        problem(api.get(f"{path}?x=1"), 400, "unknown_parameter")


@pytest.mark.parametrize("character", ["/", "\u4e2d", chr(0x1F600)])
def test_the_longest_parameters_fit_into_an_address(api: Caller, character: str) -> None:
    most = min(MAX_CHARACTERS, MAX_ENCODED // len(quote(character, safe="")))
    filter_text, kind = (quote(character * length, safe="") for length in (most, MAX_TEXT))
    names = f"queue={'a' * 128}&task={'a' * 128}"
    address = f"/dlq?filter={filter_text}&error_type={kind}&{names}"
    assert ids(api.get(address)) == []
    line = f"GET /api/v1{address}&limit=200&cursor={'x' * LONGEST_CURSOR} HTTP/1.1"
    server = runpy.run_path(str(ROOT / "deploy" / "gunicorn.py"))
    assert len(line) < server["limit_request_line"]
    problem(api.get(f"/dlq?filter={filter_text}{quote(character)}"), 400, "invalid_filter")


def test_a_cursor_serves_its_own_list_only(api: Caller, stranger: Caller, alice: Tenant) -> None:
    for caller in (api, stranger):
        caller.submit()
        caller.submit()
    cursor = api.get("/jobs?limit=1").json()["next"].partition("cursor=")[2]
    assert len(cursor) < LONGEST_CURSOR / 2
    assert len(ids(api.get(f"/jobs?cursor={cursor}"))) == 1
    for refused in (
        stranger.get(f"/jobs?cursor={cursor}"),
        api.get(f"/jobs?cursor={cursor}&queue=default"),
        api.get(f"/dlq?cursor={cursor}"),
        api.get(f"/jobs?cursor={cursor[:-2]}xx"),
    ):
        problem(refused, 400, "invalid_cursor")


def test_a_page_ends_before_it_is_too_large(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_search, "MAX_PAGE_BYTES", 250)
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
