"""The same key and request, the same job. Rows 67 to 73 of the bad-input matrix."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from jobs.api import rate_limits
from jobs.api.rate_limits import MISMATCHES
from jobs.models import Job, Tenant
from jobs.services import change_limits
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db
HEADER = "Idempotency-Key"


def with_key(api: Caller, key: str, body: Any) -> Any:
    return api.post("/jobs", body, headers={HEADER: key})


def test_a_repeat_is_answered_with_the_same_job(api: Caller) -> None:
    first, second = (with_key(api, "k", {"payload": [1]}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    assert second["Location"] == first["Location"]
    assert Job.objects.count() == 1


def test_header_and_field_are_the_same_key(api: Caller) -> None:
    first = with_key(api, "k", {"payload": 1})
    second = api.post("/jobs", {"payload": 1, "idempotency_key": "k"})
    both = with_key(api, "k", {"payload": 1, "idempotency_key": "k"})
    assert {first.json()["id"], second.json()["id"], both.json()["id"]} == {first.json()["id"]}


def test_spaces_and_the_order_of_keys_do_not_matter(api: Caller) -> None:
    headers = {HEADER: "k"}
    one = api.post("/jobs", raw=b'{"payload":{"a":1,"b":[2]},"tags":["t"]}', headers=headers)
    two = api.post(
        "/jobs", raw=b'{ "tags" : ["t"], "payload" : {"b": [ 2 ], "a": 1} }', headers=headers
    )
    assert (one.status_code, two.status_code) == (201, 200)
    assert one.json()["id"] == two.json()["id"]


@pytest.mark.parametrize(
    "other",
    [{"payload": 2}, {"payload": 1, "queue": "q"}, {"payload": 1, "worker_tags": ["gpu"]}, {}],
)
def test_another_request_under_the_same_key_is_refused(api: Caller, other: Any) -> None:
    with_key(api, "k", {"payload": 1})
    problem(with_key(api, "k", other), 422, "idempotency_mismatch")
    assert Job.objects.count() == 1


def test_tenants_do_not_share_keys(api: Caller, stranger: Caller) -> None:
    ours, theirs = with_key(api, "k", {"payload": 1}), with_key(stranger, "k", {"payload": 2})
    assert (ours.status_code, theirs.status_code) == (201, 201)


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a,b"])
def test_a_bad_header_is_refused(api: Caller, key: str) -> None:
    problem(with_key(api, key, {}), 400, "invalid_input")
    assert not Job.objects.exists()


def test_header_and_field_may_not_differ(api: Caller) -> None:
    body = {"idempotency_key": "other"}
    problem(with_key(api, "k", body), 422, "idempotency_mismatch")
    assert with_key(api, "other", body).status_code == 201


def test_a_repeat_spends_nothing_of_the_rate(api: Caller, alice: Tenant) -> None:
    change_limits(alice, actor="command:test", submissions_per_minute=1)
    assert [with_key(api, "k", {}).status_code for _ in range(3)] == [201, 200, 200]


def guess(caller: Caller, payload: int, *, in_bulk: bool) -> int:
    job = {"payload": payload, "idempotency_key": "order-17"}
    answer = caller.post("/jobs/bulk", {"jobs": [job]}) if in_bulk else caller.post("/jobs", job)
    status: int = answer.status_code
    return status


@pytest.fixture
def a_long_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mismatches are counted without an end of their minute."""
    counts = Counter[str]()

    def count(request: Any, group: str, key: Callable[..., str], limit: int) -> int:
        counts[key()] += group == "mismatches"
        return 60 * (counts[key()] > limit)

    monkeypatch.setattr(rate_limits, "seconds_to_wait", count)


@pytest.mark.parametrize("in_bulk", [False, True])
@pytest.mark.usefixtures("a_long_minute")
def test_who_may_not_read_finds_out_no_payload_by_trying(
    api: Caller, alice: Tenant, caller_of: Callable[..., Caller], in_bulk: bool
) -> None:
    blind, honest = caller_of(alice, "submit"), caller_of(alice, "submit")
    api.submit(payload=73, idempotency_key="order-17")
    assert guess(blind, 73, in_bulk=in_bulk) == 200
    answers = [guess(blind, number, in_bulk=in_bulk) for number in range(MISMATCHES + 2)]
    assert answers == [422] * MISMATCHES + [429] * 2
    assert guess(blind, 73, in_bulk=in_bulk) == 429
    assert blind.submit(payload=73)["status"] == "PENDING"
    assert guess(honest, 73, in_bulk=in_bulk) == 200
    assert {guess(api, 0, in_bulk=in_bulk) for _ in range(MISMATCHES + 2)} == {422}


def test_a_bulk_repeats_each_job(api: Caller) -> None:
    body = {"jobs": [{"payload": n, "idempotency_key": f"k{n}"} for n in range(3)]}
    first, second = (api.post("/jobs/bulk", body) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["ids"] == second.json()["ids"]
    assert (first.json()["created"], second.json()["created"]) == (3, 0)


def test_a_bulk_may_add_to_earlier_jobs(api: Caller) -> None:
    earlier = api.submit(payload=0, idempotency_key="k0")
    body = {"jobs": [{"payload": n, "idempotency_key": f"k{n}"} for n in range(2)]}
    answer = api.post("/jobs/bulk", body)
    assert answer.status_code == 201
    assert answer.json()["created"] == 1
    assert answer.json()["ids"][0] == earlier["id"]


def test_one_key_twice_in_a_bulk_is_one_job(api: Caller) -> None:
    answer = api.post("/jobs/bulk", {"jobs": [{"idempotency_key": "k"}] * 2}).json()
    assert answer["ids"][0] == answer["ids"][1]
    assert Job.objects.count() == 1


def test_one_mismatch_in_a_bulk_refuses_all(api: Caller) -> None:
    api.submit(payload=1, idempotency_key="k")
    body = {"jobs": [{"payload": 0}, {"payload": 2, "idempotency_key": "k"}]}
    answer = problem(api.post("/jobs/bulk", body), 422, "idempotency_mismatch")
    assert answer["errors"][0]["pointer"] == "/jobs/1"
    assert Job.objects.count() == 1


def test_a_bulk_has_no_key_of_its_own(api: Caller) -> None:
    response = api.post("/jobs/bulk", {"jobs": [{}]}, headers={HEADER: "k"})
    problem(response, 400, "invalid_input")


@pytest.mark.django_db(transaction=True)
def test_a_race_makes_one_job(api: Caller, caller_of: Callable[..., Caller], alice: Tenant) -> None:
    callers = [caller_of(alice) for _ in range(8)]

    def submit(caller: Caller) -> tuple[int, str]:
        try:
            response = with_key(caller, "k", {"payload": 1})
            return response.status_code, response.json()["id"]
        finally:
            connection.close()

    with ThreadPoolExecutor(len(callers)) as pool:
        answers = list(pool.map(submit, callers))
    assert len({job_id for _, job_id in answers}) == 1
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert Job.objects.count() == 1
