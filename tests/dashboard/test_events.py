"""Server-sent events: what changed, resumed where it can be, and nothing of anybody else."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from dashboard import events, stream
from dashboard.events import RESOURCES, changed_between, changed_since, event_id
from dashboard.snapshot import Figures
from dashboard.stream import feed
from jobs import services
from jobs.api import door, held
from jobs.keys import create_api_key, key_watch, revoke_api_key
from jobs.models import ApiKey, Tenant
from jobs.statuses import Status
from tests.api.asgi import PATIENCE_SECONDS, asked, get, in_database
from tests.api.conftest import problem
from tests.factories import make_job

EVENT = re.compile(rb"id: (\S+)\nevent: (\w+)\ndata: (.*)\n\n")


def told(body: bytes) -> list[tuple[str, set[str]]]:
    """The events of a stream: their names and what changed."""
    return [
        (name.decode(), set(json.loads(data)["changed"])) for _, name, data in EVENT.findall(body)
    ]


def figures(**changed: object) -> Figures:
    """How a tenant stands, in numbers that mean nothing."""
    return Figures(**(dict.fromkeys(Figures._fields, 0) | changed))


class TestIds:
    """What an id tells, wherever and whenever it was made."""

    @pytest.mark.parametrize(
        ("figure", "expected"),
        [
            ("newest_job", {"jobs", "metrics", "queues"}),
            ("running", {"jobs", "metrics", "queues"}),
            ("dead", {"dlq"}),
            ("ended", {"jobs", "metrics", "queues"}),
            ("settings", {"queues", "tenant"}),
            ("workers", set()),
        ],
    )
    def test_it_tells_what_changed_since(self, figure: str, expected: set[str]) -> None:
        before, after = figures(), figures(**{figure: 1})
        known = event_id(before, 1_000.0)
        assert set(changed_since(known, after, 1_030.0) or ()) == expected
        assert set(changed_between(before, after)) == expected
        assert changed_since(known, before, 1_030.0) == []

    @pytest.mark.parametrize(
        "known",
        ["", "x", "1", "-", "1000000-", "1000000-abc", "9" * 400, "é-1", "1e6-" + "0" * 40],
    )
    def test_what_is_no_id_of_ours_tells_nothing(self, known: str) -> None:
        assert changed_since(known, figures(), 1_000.0) is None

    @pytest.mark.parametrize("moment", [1_061.0, 900.0, 10.0**12])
    def test_an_old_id_tells_nothing(self, moment: float) -> None:
        assert changed_since(event_id(figures(), 1_000.0), figures(), moment) is None

    def test_ids_rise(self) -> None:
        ids = [int(event_id(figures(), moment).split("-")[0]) for moment in (1.0, 1.5, 2.0)]
        assert ids == sorted(set(ids))


@pytest.mark.django_db
class TestWithoutALoop:
    """Under WSGI: what changed, and the end."""

    def test_clients_are_told_what_changed_and_to_come_back(self, alice: Tenant) -> None:
        headers = {"Authorization": f"Bearer {create_api_key(alice, actor='command:test')[1]}"}
        first = Client().get("/api/v1/events", headers=headers)
        assert first["Content-Type"] == "text/event-stream"
        assert first.content.startswith(b"retry: 5000\n\n")
        assert told(first.content) == [("reset", set(RESOURCES))]
        last = EVENT.findall(first.content)[0][0].decode()
        same = Client().get("/api/v1/events", headers={**headers, "Last-Event-ID": last})
        assert told(same.content) == []
        make_job(alice)
        changed = Client().get("/api/v1/events", headers={**headers, "Last-Event-ID": last})
        assert told(changed.content) == [("changed", {"jobs", "metrics", "queues"})]
        old = Client().get("/api/v1/events", headers={**headers, "Last-Event-ID": f"1{last[1:]}"})
        assert old.status_code == 200

    def test_it_takes_a_key_that_may_read_all_of_its_tenant(self, alice: Tenant) -> None:
        def refused(code: str, status: int, **options: Any) -> None:
            key = create_api_key(alice, actor="command:test", **options)[1]
            headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
            problem(Client().get("/api/v1/events", headers=headers), status, code)

        refused("insufficient_scope", 403, scopes=["submit", "work"])
        refused("queue_not_allowed", 403, queues=["mail"])
        problem(Client().get("/api/v1/events"), 401, "not_authenticated")


@pytest.mark.django_db(transaction=True)
class TestStreams:
    """On a loop."""

    @pytest.fixture(autouse=True)
    def in_a_hurry(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The feed reads often; and nothing is left of a stream that is closed."""
        monkeypatch.setattr(feed, "_interval", 0.05)
        monkeypatch.setattr(key_watch, "_seconds", 0.05)
        monkeypatch.setattr(door, "IDLE_SECONDS", 0.1)
        yield
        assert not feed._subscribers
        assert len(key_watch) == 0
        assert not held._held

    @pytest.fixture
    def key(self, alice: Tenant) -> str:
        """Alice's key."""
        return create_api_key(alice, actor="command:test")[1]

    async def test_it_begins_with_a_reset_and_tells_what_changes(
        self, key: str, alice: Tenant, mallory: Tenant
    ) -> None:
        async with asked("/events", key) as (exchange, task):
            await exchange.until(b"event: reset")
            assert exchange.headers["content-type"] == "text/event-stream"
            assert "content-length" not in exchange.headers
            await in_database(make_job)(mallory)
            await in_database(services.change_limits)(mallory, actor="user:olga", max_running=1)
            await in_database(make_job)(alice)
            await exchange.until(b"event: changed")
            assert not task.done()
        assert told(exchange.body) == [
            ("reset", set(RESOURCES)),
            ("changed", {"jobs", "metrics", "queues"}),
        ]

    async def test_a_dead_letter_and_a_setting_are_told(self, key: str, alice: Tenant) -> None:
        async with asked("/events", key) as (exchange, _):
            await exchange.until(b"event: reset")
            await in_database(make_job)(alice, Status.DLQ)
            await exchange.until(b'"dlq"')
            await in_database(services.change_limits)(alice, actor="user:olga", max_running=1)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not any("tenant" in names for name, names in told(exchange.body)[1:]):
                    await asyncio.sleep(0.01)

    async def test_a_client_resumes_where_it_was(self, key: str, alice: Tenant) -> None:
        async with asked("/events", key) as (exchange, _):
            await exchange.until(b"event: reset")
        last = EVENT.findall(exchange.body)[0][0].decode()
        await in_database(make_job)(alice)
        async with asked("/events", key, Last_Event_ID=last) as (resumed, _):
            await resumed.until(b"event: changed")
        assert told(resumed.body)[0] == ("changed", {"jobs", "metrics", "queues"})

        await in_database(make_job)(alice)
        last = EVENT.findall(resumed.body)[-1][0].decode()
        async with asked("/events", key, Last_Event_ID=last) as (again, _):
            await again.until(b"event: changed")
        assert b"reset" not in again.body

    async def test_a_quiet_stream_has_heartbeats_with_ids(
        self, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
        async with asked("/events", key) as (exchange, _):
            await exchange.until(b": heartbeat\nid: ")

    async def test_it_ends_when_its_key_does(self, key: str) -> None:
        async with asked("/events", key) as (exchange, task):
            await exchange.until(b"event: reset")
            own = await in_database(ApiKey.objects.get)()
            await in_database(revoke_api_key)(own, actor="command:test")
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert exchange.is_over

    async def test_it_ends_after_its_life(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "LIFE_SECONDS", 0)
        exchange = await get("/events", key)
        assert exchange.is_over
        assert told(exchange.body) == [("reset", set(RESOURCES))]

    async def test_a_tenant_has_so_many_streams(self, key: str, settings: Any) -> None:
        settings.JOBQUEUE = {"max_held_per_tenant": 1}
        async with asked("/events", key) as (exchange, _):
            await exchange.until(b"event: reset")
            refused = await get("/events", key)
            assert (refused.status, refused.json()["code"]) == (429, "too_many_held")
            assert refused.headers["retry-after"] == "10"

    async def test_many_streams_cost_one_read_and_all_are_told(
        self, key: str, alice: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[Any] = []
        read = stream.read_snapshot
        monkeypatch.setattr(stream, "read_snapshot", lambda ids: (reads.append(ids), read(ids))[1])
        opened = [asked("/events", key) for _ in range(40)]
        exchanges = [(await one.__aenter__())[0] for one in opened]
        try:
            for exchange in exchanges:
                await exchange.until(b"event: reset")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(feed._subscribers) < 40:
                    await asyncio.sleep(0.01)
            readers = {id(feed._task)}
            await in_database(make_job)(alice)
            for exchange in exchanges:
                await exchange.until(b"event: changed")
            assert readers == {id(feed._task)}
            assert {frozenset(ids) for ids in reads} == {frozenset({alice.pk})}
        finally:
            for one in opened:
                await one.__aexit__(None, None, None)

    async def test_a_client_that_does_not_read_is_left(
        self, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)
        monkeypatch.setattr(held, "SEND_SECONDS", 0.05)
        async with asked("/events", key) as (exchange, task):
            await exchange.until(b"event: reset")
            exchange.stop_reading()
            await asyncio.wait_for(task, PATIENCE_SECONDS)
        assert not exchange.is_over
