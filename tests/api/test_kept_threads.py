"""The threads that answer requests under ASGI are few, and kept; none is given away too soon."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from jobqueue_project import kept_threads
from jobqueue_project.kept_threads import KeptThreads
from jobs.sending import sent
from tests.api.asgi import PATIENCE_SECONDS, Exchange

pytestmark = pytest.mark.django_db(transaction=True)

_begun, _may_end = threading.Semaphore(0), threading.Event()
_both = threading.Barrier(2, timeout=PATIENCE_SECONDS)


async def begun(count: int) -> None:
    """Until so many requests wait."""
    for _ in range(count):
        assert await asyncio.to_thread(_begun.acquire, timeout=PATIENCE_SECONDS)


def name_of_thread(request: HttpRequest) -> HttpResponse:
    """Who answers, and over which connection."""
    connections["default"].ensure_connection()
    return HttpResponse(f"{threading.get_ident()} {id(connections['default'].connection)}")


def wait(request: HttpRequest) -> HttpResponse:
    """Until the test lets it end."""
    _begun.release()
    assert _may_end.wait(PATIENCE_SECONDS)
    return HttpResponse("waited")


def meet(request: HttpRequest) -> HttpResponse:
    """Only if another does at the same time."""
    _both.wait()
    return HttpResponse("met")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A file that ends when the test lets it."""

    def pieces() -> Iterator[bytes]:
        yield b"begun"
        assert _may_end.wait(PATIENCE_SECONDS)

    return StreamingHttpResponse(sent(request, pieces()))


urlpatterns = [
    path("who", name_of_thread),
    path("health/live", lambda request: HttpResponse("live")),
    path("wait", wait),
    path("meet", meet),
    path("stream", stream),
]


@pytest.fixture
def application(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeptThreads]:
    """With two threads, which end with the test."""
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(kept_threads, "AT_ONCE", 2)
    bodies = []

    async def read_body(self: KeptThreads, receive: Any) -> Any:
        bodies.append(await ASGIHandler.read_body(self, receive))
        return bodies[-1]

    monkeypatch.setattr(KeptThreads, "read_body", read_body)
    _may_end.clear()
    _both.reset()
    made = KeptThreads(max_age=None)
    yield made
    _may_end.set()
    for body in bodies:
        body.close()  # Django does not, where a request is ended by the server
    for thread in made.threads:
        thread.submit(connections.close_all)
        thread.shutdown()


class Asked(Exchange):
    """A request to that application."""

    def __init__(self, application: KeptThreads, address: str) -> None:
        super().__init__("GET", address, {"Host": "localhost"})
        self.task = asyncio.ensure_future(application(self.scope, self._receive, self._send))

    async def answer(self) -> bytes:
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)
        return self.body


def on_a_loop(test: Callable[[KeptThreads], Any]) -> Callable[[KeptThreads], None]:
    def run(application: KeptThreads) -> None:
        asyncio.run(test(application))

    return run


async def both_are_free(application: KeptThreads) -> None:
    """Two more requests have a thread each."""
    both = [Asked(application, "/meet") for _ in range(2)]
    assert [await one.answer() for one in both] == [b"met"] * 2


@on_a_loop
async def test_the_next_request_has_the_same_thread_and_connection(
    application: KeptThreads,
) -> None:
    first = await Asked(application, "/who").answer()
    assert first
    assert await Asked(application, "/who").answer() == first


@on_a_loop
async def test_who_finds_no_thread_waits_in_line(application: KeptThreads) -> None:
    waiting = [Asked(application, "/wait") for _ in range(2)]
    await begun(2)
    third = Asked(application, "/who")
    await asyncio.sleep(0.1)
    assert not third.task.done()
    assert await Asked(application, "/health/live").answer() == b"live"
    _may_end.set()
    assert [await one.answer() for one in waiting] == [b"waited"] * 2
    assert await third.answer()


@on_a_loop
async def test_a_client_that_leaves_frees_no_thread_that_is_at_work(
    application: KeptThreads,
) -> None:
    gone = Asked(application, "/wait")
    await begun(1)
    gone.leave()
    names = {(await Asked(application, "/who").answer()).split()[0] for _ in range(4)}
    assert len(names) == 1  # nobody stood in line behind it
    _may_end.set()
    assert await gone.answer() == b""
    await both_are_free(application)


@on_a_loop
async def test_a_request_that_the_server_ends_frees_no_thread_that_is_at_work(
    application: KeptThreads,
) -> None:
    ended = Asked(application, "/wait")
    await begun(1)
    ended.leave()
    await asyncio.sleep(0.1)
    ended.task.cancel()
    await asyncio.gather(ended.task, return_exceptions=True)
    assert await Asked(application, "/who").answer()
    _may_end.set()
    await both_are_free(application)


@on_a_loop
async def test_a_file_leaves_its_thread_to_others_while_it_is_sent(
    application: KeptThreads,
) -> None:
    files = [Asked(application, "/stream") for _ in range(3)]
    for one in files:
        await one.until(b"begun")
    assert await Asked(application, "/who").answer()
    _may_end.set()
    assert [await one.answer() for one in files] == [b"begun"] * 3
