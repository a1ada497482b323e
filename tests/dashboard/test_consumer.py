"""The socket: who is let in, what is said, and that no client can make it grow."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from dashboard import consumers
from dashboard.consumers import LiveConsumer
from dashboard.snapshot import REGIONS
from dashboard.stream import Subscriber
from jobqueue_project.asgi import application
from jobs.models import Tenant

pytestmark = pytest.mark.django_db(transaction=True)


class Feed:
    """Stands in for the feed of the process."""

    def __init__(self) -> None:
        self.subscribers: list[Subscriber] = []

    async def count(self, wanted: int) -> list[Subscriber]:
        """The subscribers, once there are so many."""
        async with asyncio.timeout(5):
            while len(self.subscribers) != wanted:
                await asyncio.sleep(0.01)
        return self.subscribers

    def join(self, subscriber: Subscriber) -> None:
        self.subscribers.append(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        self.subscribers.remove(subscriber)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    made = Feed()
    monkeypatch.setattr(LiveConsumer, "feed", made)
    return made


@pytest.fixture
async def connect(feed: Feed) -> AsyncIterator[Callable[..., Any]]:
    opened: list[WebsocketCommunicator] = []

    async def open_socket(
        client: Client, query: str = "", path: str = "/ws/live", **headers: str
    ) -> Any:
        cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
        given = {"origin": "http://localhost", "host": "localhost"} | headers
        if cookie:
            given["cookie"] = f"{settings.SESSION_COOKIE_NAME}={cookie.value}"
        lines = [(name.encode(), value.encode()) for name, value in given.items()]
        socket = WebsocketCommunicator(application, f"{path}{query}", headers=lines)
        opened.append(socket)
        await socket.connect()
        return socket

    yield open_socket
    for socket in opened:
        await socket.disconnect()
    await database_sync_to_async(connections.close_all)()


async def closed_with(socket: WebsocketCommunicator) -> int:
    while (message := await socket.receive_output(2))["type"] != "websocket.close":
        pass
    code = int(message["code"])
    assert code == 1000 or 3000 <= code <= 4999, "no server lets an application send another"
    return code


async def heard(socket: WebsocketCommunicator) -> dict[str, Any]:
    message = await socket.receive_json_from(2)
    await socket.send_to(text_data=json.dumps({"seen": message["seq"]}))
    return message


async def test_a_socket_needs_a_login(connect: Callable[..., Any], feed: Feed) -> None:
    assert await closed_with(await connect(Client())) == 4401
    assert feed.subscribers == []


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/", "/ws/live/", "/ws/lives", "/jobs/"])
async def test_there_is_no_socket_elsewhere(
    connect: Callable[..., Any], ann: Client, feed: Feed, path: str
) -> None:
    assert await closed_with(await connect(ann, path=path)) == 4404
    assert feed.subscribers == []


async def test_a_socket_from_another_site_is_refused(
    connect: Callable[..., Any], ann: Client, feed: Feed
) -> None:
    await connect(ann, origin="http://evil.example")

    assert feed.subscribers == []


async def test_a_member_hears_of_their_tenants(
    connect: Callable[..., Any], ann: Client, alice: Tenant, mallory: Tenant, feed: Feed
) -> None:
    await connect(ann)

    (subscriber,) = await feed.count(1)
    assert subscriber.tenant_ids == {alice.pk}


async def test_an_operator_hears_of_all_tenants_or_of_one(
    connect: Callable[..., Any], operator: Client, alice: Tenant, feed: Feed
) -> None:
    await connect(operator)
    await feed.count(1)
    await connect(operator, "?tenant=alice")

    assert [s.tenant_ids for s in await feed.count(2)] == [None, {alice.pk}]


async def test_nobody_hears_of_a_tenant_they_do_not_see(
    connect: Callable[..., Any], stranger: Client, alice: Tenant, feed: Feed
) -> None:
    assert await closed_with(await connect(stranger, "?tenant=alice")) == 4404
    assert feed.subscribers == []


async def test_a_nul_is_in_no_tenants_name(
    connect: Callable[..., Any], ann: Client, feed: Feed
) -> None:
    assert await closed_with(await connect(ann, "?tenant=%00")) == 4404
    assert feed.subscribers == []


async def test_the_first_message_asks_for_everything_and_later_ones_for_what_changed(
    connect: Callable[..., Any], ann: Client, alice: Tenant, feed: Feed
) -> None:
    socket = await connect(ann)
    first = await heard(socket)

    feed.subscribers[0].tell({"jobs": {alice.pk}, "dead": {alice.pk + 1}})
    second = await heard(socket)

    assert first == {"seq": 1, "changed": sorted(REGIONS)}
    assert second == {"seq": 2, "changed": ["jobs"]}


async def test_the_next_message_waits_for_the_answer_and_carries_all_since(
    connect: Callable[..., Any], ann: Client, alice: Tenant, feed: Feed
) -> None:
    socket = await connect(ann)
    first = await socket.receive_json_from(2)
    for region in ("jobs", "tiles", "jobs", "queues"):
        feed.subscribers[0].tell({region: {alice.pk}})
    assert await socket.receive_nothing(0.2)

    await socket.send_to(text_data=json.dumps({"seen": first["seq"]}))

    assert await heard(socket) == {"seq": 2, "changed": ["jobs", "queues", "tiles"]}


async def test_trouble_with_the_database_is_told_and_its_end_too(
    connect: Callable[..., Any], ann: Client, alice: Tenant, feed: Feed
) -> None:
    socket = await connect(ann)
    await heard(socket)

    feed.subscribers[0].tell_trouble()
    assert await heard(socket) == {"seq": 2, "changed": [], "trouble": True}
    feed.subscribers[0].tell({})
    assert await heard(socket) == {"seq": 3, "changed": []}


async def test_an_idle_socket_is_kept_alive(
    connect: Callable[..., Any], ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "HEARTBEAT_SECONDS", 0.05)
    socket = await connect(ann)
    await heard(socket)

    assert await heard(socket) == {"seq": 2, "changed": []}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"text_data": "x" * 1_025}, 4413),
        ({"bytes_data": b"x"}, 4413),
        ({"text_data": "{not json"}, 4400),
        ({"text_data": '{"seen": 99}'}, 4400),
        ({"text_data": "[]"}, 4400),
        ({"text_data": "[" * 1_024}, 4400),
    ],
)
async def test_anything_but_an_answer_ends_the_connection(
    connect: Callable[..., Any], ann: Client, sent: dict[str, Any], code: int
) -> None:
    socket = await connect(ann)
    await socket.receive_json_from(2)

    await socket.send_to(**sent)

    assert await closed_with(socket) == code


async def test_a_client_that_talks_without_being_asked_is_cut_off(
    connect: Callable[..., Any], ann: Client
) -> None:
    socket = await connect(ann)
    message = await heard(socket)

    await socket.send_to(text_data=json.dumps({"seen": message["seq"]}))

    assert await closed_with(socket) == 4400


async def test_a_client_that_never_answers_is_cut_off(
    connect: Callable[..., Any], ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    socket = await connect(ann)

    assert await closed_with(socket) == 4408


async def test_a_member_who_is_removed_stops_hearing(
    connect: Callable[..., Any],
    ann: Client,
    alice: Tenant,
    mallory: Tenant,
    feed: Feed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    socket = await connect(ann)
    await heard(socket)

    await (await User.objects.aget(username="ann")).tenants.aset([mallory])
    feed.subscribers[0].news.clear()
    while feed.subscribers[0].tenant_ids != {mallory.pk}:
        assert await socket.receive_nothing(0.05)


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}])
async def test_a_user_who_is_switched_off_is_cut_off(
    connect: Callable[..., Any],
    ann: Client,
    change: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.1)
    socket = await connect(ann)
    await heard(socket)

    await User.objects.filter(username="ann").aupdate(**change)

    assert await closed_with(socket) == 4401


async def test_the_feed_is_left_when_the_page_is_closed(
    connect: Callable[..., Any], ann: Client, feed: Feed
) -> None:
    socket = await connect(ann)
    await feed.count(1)

    await socket.disconnect()

    assert feed.subscribers == []
