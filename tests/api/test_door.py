"""The door of an ASGI server: wrong keys are refused as in Django, and never get there."""

import asyncio
import threading
from typing import Any

import pytest
from django.db import Error
from django.db.backends.signals import connection_created
from django.test import Client

from jobs.api import door, rate_limits
from jobs.api.door import Door
from jobs.keys import create_api_key, recent_keys
from jobs.models import Tenant
from tests.api.asgi import in_database
from tests.api.conftest import problem

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN = "jq_" + "a" * 8 + "_" + "b" * 49


class Behind:
    """What the door leads to: remembers who came in."""

    def __init__(self) -> None:
        self.came: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.came.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})


@pytest.fixture(autouse=True)
def ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends soon after each test, and may be slow in it."""
    monkeypatch.setattr(door, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(door, "VERDICT_SECONDS", 60)


@pytest.fixture
def behind() -> Behind:
    return Behind()


async def knock(behind: Behind, *keys: str | None, **scope: Any) -> list[dict[str, Any]]:
    """Ask once with each key; answers the statuses, headers and bodies."""
    entrance = Door(behind)
    return [await _knock_once(entrance, key, scope) for key in keys]


async def _knock_once(entrance: Door, key: str | None, more: dict[str, Any]) -> dict[str, Any]:
    headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode("latin-1"))]
    scope = {"type": "http", "method": "GET", "path": "/api/v1/jobs", "query_string": b""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 1), "server": ("localhost", 80)} | more
    answer: dict[str, Any] = {"body": b""}

    async def send(message: dict[str, Any]) -> None:
        answer["status"] = message.get("status", answer.get("status"))
        answer["body"] += message.get("body", b"")
        if "headers" in message:
            answer["headers"] = {k.decode(): v.decode() for k, v in message["headers"]}

    await asyncio.wait_for(entrance(scope, None, send), 60)
    return answer


@pytest.mark.parametrize("wrong", ["", "x", UNKNOWN, "é", "a b"])
async def test_a_wrong_key_is_refused_as_django_does(behind: Behind, wrong: str) -> None:
    (answer,) = await knock(behind, wrong)
    headers = {"Authorization": f"Bearer {wrong}"}
    same = await in_database(Client().get)("/api/v1/jobs", headers=headers)
    body = problem(same, 401, "authentication_failed")
    assert answer["status"] == 401
    assert body["detail"].encode() in answer["body"]
    for name in ("content-type", "www-authenticate", "cache-control"):
        assert answer["headers"][name] == same[name]
    assert answer["headers"]["x-request-id"].encode() in answer["body"]
    assert behind.came == []


async def test_two_keys_are_one_wrong_key_as_in_django(behind: Behind) -> None:
    twice = [(b"authorization", f"Bearer {UNKNOWN}".encode()), (b"authorization", b"Bearer x")]
    (answer,) = await knock(behind, None, headers=twice)
    assert (answer["status"], behind.came) == (401, [])


async def test_a_good_key_comes_in_and_is_known_from_then_on(
    behind: Behind, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await in_database(_key_of)(alice)
    (first,) = await knock(behind, key)
    assert first["body"] == b"in"
    monkeypatch.setattr(door, "_refusal_of", None)  # nobody looks again
    await knock(behind, key)
    assert len(behind.came) == 2


async def test_what_has_no_key_of_ours_is_no_affair_of_the_door(behind: Behind) -> None:
    await knock(behind, None)
    await knock(behind, "x", path="/admin/")
    await knock(behind, "x", type="websocket", path="/ws/live")
    assert behind.came == ["/api/v1/jobs", "/admin/", "/ws/live"]


async def test_too_many_wrong_keys_are_refused_and_a_good_one_is_not(
    behind: Behind, alice: Tenant, settings: Any
) -> None:
    settings.JOBQUEUE = {"authentication_failures_per_minute": 3}
    key = await in_database(_key_of)(alice)
    answers = await knock(behind, *["x"] * 10)
    assert [answer["status"] for answer in answers[:3]] == [401] * 3
    assert answers[-1]["status"] == 429
    assert int(answers[-1]["headers"]["retry-after"]) >= 1
    recent_keys.clear()
    (good,) = await knock(behind, key)
    assert good["body"] == b"in"


async def test_an_address_that_is_refused_is_counted_no_more(
    behind: Behind, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOBQUEUE = {"authentication_failures_per_minute": 1}
    statuses = [answer["status"] for answer in await knock(behind, *["x"] * 4)]
    assert statuses[-1] == 429
    monkeypatch.setattr(rate_limits, "seconds_to_wait", None)
    assert [answer["status"] for answer in await knock(behind, "x", UNKNOWN)] == [429, 429]


async def test_without_a_database_django_answers(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, request: Any) -> None:
        raise Error("no database")

    monkeypatch.setattr(door.BearerAuthentication, "authenticate", fail)
    (answer,) = await knock(behind, UNKNOWN)
    assert answer["body"] == b"in"


async def test_the_door_outlives_whatever_goes_wrong(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrance, authenticate = Door(behind), door.BearerAuthentication.authenticate

    def fail_once(self: Any, request: Any) -> Any:
        monkeypatch.setattr(door.BearerAuthentication, "authenticate", authenticate)
        raise RuntimeError("a cache that is away")

    monkeypatch.setattr(door.BearerAuthentication, "authenticate", fail_once)
    passed = await _knock_once(entrance, UNKNOWN, {})
    assert passed["body"] == b"in"
    refused = await _knock_once(entrance, UNKNOWN, {})
    assert refused["status"] == 401


@pytest.mark.parametrize("unreadable", [b"text/plain; charset*=utf-99''x%41", b"a; charset=a\0b"])
async def test_a_content_type_that_nobody_can_read_is_no_way_past_the_door(
    behind: Behind, unreadable: bytes
) -> None:
    headers = [(b"content-type", unreadable), (b"authorization", f"Bearer {UNKNOWN}".encode())]
    (refused,) = await knock(behind, None, headers=headers)
    assert refused["status"] == 401


async def test_a_client_does_not_wait_for_ever_at_the_door(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(door, "VERDICT_SECONDS", 0.05)
    monkeypatch.setattr(door, "_refusal_of", lambda scope: go_on.wait(60) and None)
    try:
        (answer,) = await knock(behind, UNKNOWN)
    finally:
        go_on.set()
    assert answer["body"] == b"in"


async def test_the_door_keeps_its_connection(behind: Behind, alice: Tenant) -> None:
    unknown = await in_database(_deleted_key_of)(alice)
    made: list[str] = []

    def count(**kwargs: Any) -> None:
        made.append(threading.current_thread().name)

    connection_created.connect(count)
    try:
        entrance = Door(behind)
        await asyncio.gather(*[_knock_once(entrance, unknown, {}) for _ in range(3)])
    finally:
        connection_created.disconnect(count)
    assert made == ["door"]


async def test_the_head_of_a_refusal_has_no_body(behind: Behind) -> None:
    (answer,) = await knock(behind, "x", method="HEAD")
    assert (answer["status"], answer["body"]) == (401, b"")


def _deleted_key_of(tenant: Tenant) -> str:
    key, text = create_api_key(tenant, actor="command:test")
    key.delete()
    return text


def _key_of(tenant: Tenant) -> str:
    return create_api_key(tenant, actor="command:test")[1]
