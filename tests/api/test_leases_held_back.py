"""What keeps an answer without jobs back: around any application, without a server."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from rest_framework.request import Request

from jobs import leases_waiting, services
from jobs.api import held, long_poll
from jobs.api.held import MAX_BODY_BYTES, Held, Hold, hold_of, hold_until
from jobs.api.long_poll import PATH, asks_for_jobs, hand_out, may_wait
from jobs.leases import Wish, lease
from jobs.leases_waiting import Waiter, Watcher
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store.offers import offers
from jobs.submission import NewJob
from tests.factories import make_job

SCOPE = {"type": "http", "method": "POST", "path": PATH}
PATIENCE_SECONDS = 60


class Client:
    """Sends a body in pieces, stays or leaves, and keeps what it is answered."""

    def __init__(self, *pieces: bytes) -> None:
        self.answer: list[Any] = []
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for index, piece in enumerate(pieces, start=1):
            more = index < len(pieces)
            self._messages.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()

    async def send(self, message: Any) -> None:
        self.answer.append(message)

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})


async def read(receive: Callable[[], Any]) -> bytes:
    """The body, as an application reads it."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers what it was sent."""
    await send({"type": "http.response.body", "body": await read(receive)})


def request_of(scope: Any) -> Request:
    """A request as a view sees it under ASGI."""

    class OfServer:
        META: dict[str, str] = {}

        def __init__(self) -> None:
            self.scope = scope

    request = Request.__new__(Request)
    request._request = OfServer()
    return request


def holding(hold: Hold) -> Request:
    """A request whose answer can be held so."""
    return request_of({held._IN_SCOPE: hold})


def run(application: Any, client: Client, **scope: Any) -> list[bytes]:
    """The bodies that are answered."""
    asked = {**SCOPE, **scope}
    serving = Held(application, asks_for_jobs)(asked, client.receive, client.send)
    asyncio.run(asyncio.wait_for(serving, PATIENCE_SECONDS))
    return [message["body"] for message in client.answer]


async def in_thread(ask: Callable[[], Any]) -> Any:
    """What asks the database, on a connection of its own."""

    def asked() -> Any:
        try:
            return ask()
        finally:
            connections.close_all()

    return await asyncio.to_thread(asked)


def wish_of(tenant: Tenant, **fields: Any) -> Wish:
    return Wish(tenant=tenant, worker="rest/key/w", **fields)


@pytest.mark.parametrize("scope", [{}, {"path": "/api/v1/jobs"}, {"method": "GET"}])
def test_a_request_arrives_as_it_was_sent(scope: dict[str, str]) -> None:
    assert run(echo, Client(b"one", b"", b"two"), **scope) == [b"onetwo"]


def test_a_large_request_arrives_whole_and_cannot_wait() -> None:
    pieces = [b"x" * 60_000] * 4
    seen: list[bool] = []

    async def large(scope: Any, receive: Any, send: Any) -> None:
        seen.append(may_wait(request_of(scope), Wish(tenant=Tenant(), worker="w"), 30))
        await echo(scope, receive, send)

    assert run(large, Client(*pieces)) == [b"".join(pieces)]
    assert seen == [False]
    assert len(b"".join(pieces)) > MAX_BODY_BYTES


def test_an_answer_that_need_not_wait_comes_at_once() -> None:
    async def view(scope: Any, receive: Any, send: Any) -> None:
        assert not may_wait(request_of(scope), Wish(tenant=Tenant(), worker="w"), 0)
        await echo(scope, receive, send)

    assert run(view, Client(b"body")) == [b"body"]


def test_what_cannot_be_waited_for_is_answered_as_it_is() -> None:
    asked: list[bytes] = []

    async def fail() -> None:
        raise OSError("the ears are deaf")

    async def view(scope: Any, receive: Any, send: Any) -> None:
        hold = hold_of(request_of(scope))
        assert hold is not None
        hold.change, hold.seconds, hold.ages = fail, PATIENCE_SECONDS, True
        asked.append(await read(receive))
        await send({"type": "http.response.body", "body": b"nothing yet"})

    assert run(view, Client(b"body")) == [b"nothing yet"]
    assert asked == [b"body"]


def test_under_wsgi_nothing_waits() -> None:
    request = Request.__new__(Request)
    request._request = object()  # type: ignore[assignment]
    assert not may_wait(request, Wish(tenant=Tenant(), worker="w"), 30)


@pytest.mark.django_db(transaction=True)
def test_the_same_request_is_asked_again_when_there_is_a_job(alice: Tenant) -> None:
    asked: list[bytes] = []

    async def view(scope: Any, receive: Any, send: Any) -> None:
        asked.append(await read(receive))
        if len(asked) == 1:
            assert may_wait(request_of(scope), wish_of(alice), 30)
            await in_thread(lambda: services.submit(alice, NewJob(task="remote:x")))
        await send({"type": "http.response.body", "body": b"%d" % len(asked)})

    assert run(view, Client(b"wish")) == [b"2"]
    assert asked == [b"wish", b"wish"]


@pytest.mark.django_db(transaction=True)
def test_the_time_ends_the_wait(alice: Tenant) -> None:
    async def view(scope: Any, receive: Any, send: Any) -> None:
        assert may_wait(request_of(scope), wish_of(alice), 0.05)
        await send({"type": "http.response.body", "body": b"nothing"})

    assert run(view, Client(b"wish")) == [b"nothing"]


@pytest.mark.django_db(transaction=True)
def test_who_leaves_waits_no_longer_and_is_not_answered(alice: Tenant) -> None:
    client = Client(b"wish")

    async def view(scope: Any, receive: Any, send: Any) -> None:
        assert may_wait(request_of(scope), wish_of(alice), 30)
        client.leave()
        await send({"type": "http.response.body", "body": b"nothing"})

    assert run(view, client) == []


@pytest.mark.django_db(transaction=True)
def test_what_was_granted_to_who_has_left_goes_back_unspent(alice: Tenant) -> None:
    make_job(alice, task="remote:x")
    client = Client(b"wish")

    async def view(scope: Any, receive: Any, send: Any) -> None:
        hand_out(request_of(scope), await in_thread(lambda: lease(wish_of(alice))))
        client.leave()
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"a job"})

    assert run(view, client) == []
    job = Job.objects.get()
    assert (job.status, job.attempt, job.fence) == (Status.PENDING, 0, 1)


@pytest.mark.django_db
def test_no_more_are_woken_than_there_are_jobs_for(alice: Tenant, mallory: Tenant) -> None:
    for queue in ("a", "a", "a", "b"):
        make_job(alice, task="remote:x", queue=queue)
    seen = offers([alice.pk, mallory.pk], most=10)

    async def woken() -> list[bool]:
        watcher = Watcher()
        wishes = [
            wish_of(mallory),
            wish_of(alice, queues=frozenset({"b"})),
            wish_of(alice, queues=frozenset({"b"})),
            wish_of(alice, max_jobs=2),
            wish_of(alice, tasks=frozenset({"remote:y"})),
            wish_of(alice),
            wish_of(alice),
        ]
        waiters = [Waiter(wish) for wish in wishes]
        watcher._waiters = dict.fromkeys(waiters)
        watcher._wake_for(seen)
        await asyncio.sleep(0)
        return [waiter.woken.done() for waiter in waiters]

    assert asyncio.run(woken()) == [False, True, False, True, False, True, False]


@pytest.mark.django_db
def test_a_look_counts_so_many_jobs_however_many_are_wanted(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(tenant_ids: Any, *, most: int) -> list[Any]:
        counted.append(most)
        return []

    async def waiters(number: int) -> list[Waiter]:
        return [Waiter(wish_of(alice, max_jobs=100)) for _ in range(number)]

    monkeypatch.setattr(leases_waiting, "offers", count)
    watcher = Watcher()
    for number in (1, 20):
        watcher._waiters = dict.fromkeys(asyncio.run(waiters(number)))
        watcher._look()
    assert counted == [100, leases_waiting.MAX_COUNTED]


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_jobs_beyond_those_counted_is_woken_by_the_next_look(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.JOBQUEUE = {"poll_interval_seconds": 10 * PATIENCE_SECONDS}
    monkeypatch.setattr(leases_waiting, "MAX_COUNTED", 1)
    for _ in range(4):
        make_job(alice, task="remote:x")

    async def wait() -> None:
        waiters = [Waiter(wish_of(alice)) for _ in range(4)]
        watcher = Watcher()
        for waiter in waiters:
            watcher.join(waiter)
        await asyncio.wait_for(asyncio.gather(*(x.woken for x in waiters)), PATIENCE_SECONDS)

    asyncio.run(wait())


@pytest.mark.django_db
def test_so_many_of_a_tenants_workers_wait_and_no_more_however_they_come(
    alice: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "MAX_WAITING", 5)
    holds = [Hold() for _ in range(40)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda hold: may_wait(holding(hold), wish_of(alice), 30), holds))
    assert taken.count(True) == 5
    assert may_wait(holding(Hold()), wish_of(mallory), 30)
    held._held.clear()


def test_so_many_answers_of_a_tenant_are_held_and_no_more_however_they_come(settings: Any) -> None:
    settings.JOBQUEUE = {"max_held_per_tenant": 5}
    tenant, holds = Tenant(pk=1), [Hold() for _ in range(40)]

    def take(hold: Hold) -> bool:
        return hold_until(holding(hold), tenant, asyncio.Event().wait, seconds=30)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(take, holds)).count(True) == 5
    assert [take(hold) for hold in holds].count(True) == 5  # asked again, they keep their places
    for hold in holds:
        hold.place.give_up()
    assert not held._held
    assert not any(map(take, holds))  # their clients are gone


def test_a_place_is_free_when_its_answer_comes(settings: Any) -> None:
    settings.JOBQUEUE = {"max_held_per_tenant": 1}
    seen: list[bool] = []

    async def view(scope: Any, receive: Any, send: Any) -> None:
        change = asyncio.Event().wait
        seen.append(hold_until(request_of(scope), Tenant(pk=1), change, seconds=0.05))
        await send({"type": "http.response.body", "body": b"nothing"})

    for _ in range(2):
        assert run(view, Client(b"wish")) == [b"nothing"]
    assert all(seen)
    assert not held._held


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_asked_again(
    alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([leases_waiting.Error("away")])

    def look(*arguments: Any, **options: Any) -> Any:
        for error in answers:
            raise error
        return offers(*arguments, **options)

    monkeypatch.setattr(leases_waiting, "offers", look)
    make_job(alice, task="remote:x")

    async def wait() -> None:
        waiter = Waiter(wish_of(alice))
        watcher = Watcher()
        watcher.join(waiter)
        await asyncio.wait_for(waiter.woken, PATIENCE_SECONDS)

    asyncio.run(wait())
