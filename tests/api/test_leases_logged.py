"""`POST /leases/logs`: what workers over REST say that their jobs log."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings

from jobs import store
from jobs.models import Job, LogLine, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def leased(api: Caller) -> dict[str, Any]:
    """A job that Alice's worker has leased."""
    api.submit(task="remote:resize")
    (job,) = api.post("/leases", {"tasks": ["remote:resize"]}).json()["jobs"]
    found: dict[str, Any] = job
    return found


def item(job: dict[str, Any], *messages: str, **more: Any) -> dict[str, Any]:
    lines = [{"message": message} for message in messages]
    return {"job_id": job["id"], "fence": job["fence"], "first": 1, "lines": lines} | more


def tell(api: Caller, *items: dict[str, Any]) -> list[dict[str, Any]]:
    response = api.post("/leases/logs", {"leases": items})
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def kept() -> list[tuple[int, str]]:
    return list(LogLine.objects.order_by("number").values_list("number", "message"))


def test_lines_are_kept_and_read_with_all_that_they_say(
    api: Caller, leased: dict[str, Any]
) -> None:
    at = "2030-01-01T12:00:00.500000Z"
    line = {"message": "no answer", "level": "error", "logger": "resizer", "at": at}
    (result,) = tell(api, item(leased, lines=[{"message": "width 640"}, line]))
    assert (result["ok"], result["code"], result["status"]) == (True, None, "RUNNING")
    first, second = api.get(f"/jobs/{leased['id']}/logs").json()["results"]
    assert (first["message"], first["level"], first["attempt"]) == ("width 640", "info", 1)
    assert first["at"] > leased["created_at"]
    assert {name: second[name] for name in line} == line


def test_a_call_repeated_keeps_nothing_twice_and_later_lines_follow(
    api: Caller, leased: dict[str, Any]
) -> None:
    for _ in range(2):
        tell(api, item(leased, "one", "two"))
    tell(api, item(leased, "three", first=3))
    assert kept() == [(1, "one"), (2, "two"), (3, "three")]


def test_a_job_may_stand_twice_in_a_call(api: Caller, leased: dict[str, Any]) -> None:
    answers = tell(api, item(leased, "one", "two"), item(leased, "two", "three", first=2))
    assert [answer["ok"] for answer in answers] == [True, True]
    assert kept() == [(1, "one"), (2, "two"), (3, "three")]


def test_an_old_fence_and_a_job_that_ended_are_refused(api: Caller, leased: dict[str, Any]) -> None:
    (old,) = tell(api, item(leased, "x", fence=leased["fence"] + 1))
    assert (old["ok"], old["code"]) == (False, "lease_lost")
    api.post("/leases/ack", {"leases": [{"job_id": leased["id"], "fence": leased["fence"]}]})
    (late,) = tell(api, item(leased, "x"))
    assert (late["ok"], late["code"]) == (False, "already_finished")
    assert kept() == []


def test_a_lease_that_is_lost_while_lines_come_is_refused(
    api: Caller, leased: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = store.keep_log

    def lose_first(lines: Any) -> Any:
        api.post(
            "/leases/release", {"leases": [{"job_id": leased["id"], "fence": leased["fence"]}]}
        )
        return keep(lines)

    monkeypatch.setattr(store, "keep_log", lose_first)
    (late,) = tell(api, item(leased, "x"))
    assert (late["ok"], late["code"]) == (False, "lease_lost")
    assert kept() == []


def test_a_strangers_job_and_one_of_our_own_workers_are_refused(
    stranger: Caller, api: Caller, alice: Tenant, leased: dict[str, Any]
) -> None:
    (foreign,) = tell(stranger, item(leased, "x"))
    assert foreign["code"] == "not_found"
    ours = make_job(alice, Status.RUNNING, queue="ours")
    (refused,) = tell(api, item({"id": str(ours.pk), "fence": ours.fence}, "x"))
    assert refused["code"] == "lease_lost"
    assert kept() == []


@override_settings(JOBQUEUE={"max_log_lines": 3})
def test_lines_beyond_the_limit_are_not_kept_and_it_is_said_once(
    api: Caller, leased: dict[str, Any]
) -> None:
    tell(api, item(leased, *"abcde"))
    tell(api, item(leased, *"fg", first=6))
    tell(api, item(leased, "h", first=4))
    assert kept() == [
        *((1, "a"), (2, "b"), (3, "c")),
        (4, "More lines followed: 3 are kept of an attempt."),
    ]


@pytest.mark.parametrize(("level", "numbers"), [("WARNING", [2]), ("OFF", [])])
def test_only_lines_of_the_level_are_kept(
    api: Caller, leased: dict[str, Any], level: str, numbers: list[int]
) -> None:
    lines = [{"message": "x", "level": "info"}, {"message": "y", "level": "warning"}]
    with override_settings(JOBQUEUE={"log_level": level}):
        (result,) = tell(api, item(leased, lines=lines))
    assert result["ok"]
    assert [number for number, _ in kept()] == numbers


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"lines": []}, "out_of_range", "lines"),
        ({"lines": [{"message": "x"}] * 1_001}, "out_of_range", "lines"),
        ({"lines": "x"}, "invalid_type", "lines"),
        ({"lines": ["x"]}, "not_an_object", "lines/0"),
        ({"lines": [{"message": "x"}, {}]}, "missing_field", "lines/1/message"),
        ({"lines": [{"message": 1}]}, "invalid_type", "lines/0/message"),
        ({"lines": [{"message": "x", "level": "INFO"}]}, "invalid_choice", "lines/0/level"),
        ({"lines": [{"message": "x", "at": "now"}]}, "invalid_time", "lines/0/at"),
        ({"lines": [{"message": "x", "where": 1}]}, "unknown_field", "lines/0/where"),
        ({"first": 0}, "out_of_range", "first"),
        ({"first": None}, "invalid_type", "first"),
    ],
)
def test_what_cannot_be_a_line_is_refused_and_nothing_is_kept(
    api: Caller, leased: dict[str, Any], change: dict[str, Any], code: str, pointer: str
) -> None:
    body = {"leases": [item(leased, "fine") | change]}
    (error,) = problem(api.post("/leases/logs", body), 400, code)["errors"]
    assert (error["code"], error["pointer"].lstrip("#/")) == (code, f"leases/0/{pointer}")
    assert kept() == []


def test_number_and_lines_have_to_be_there(api: Caller, leased: dict[str, Any]) -> None:
    body = {"leases": [{"job_id": leased["id"], "fence": leased["fence"]}]}
    errors = problem(api.post("/leases/logs", body), 400, "missing_field")["errors"]
    assert {error["code"] for error in errors} == {"missing_field"}
    assert len(errors) == 2


def test_a_nul_is_refused(api: Caller, leased: dict[str, Any]) -> None:
    problem(api.post("/leases/logs", {"leases": [item(leased, "a\0b")]}), 400, "nul_character")


def test_it_needs_the_scope_to_work(
    caller_of: Callable[..., Caller], alice: Tenant, leased: dict[str, Any]
) -> None:
    answer = caller_of(alice, "read").post("/leases/logs", {"leases": [item(leased, "x")]})
    problem(answer, 403, "insufficient_scope")
    assert Job.objects.count() == 1
