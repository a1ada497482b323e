"""Answers that are held back under ASGI: until a job has changed, or as a stream that goes on.

The view answers at once, as it does under WSGI, and says what its answer may wait for. Here that is
waited for outside of Django, where nobody holds a thread or a connection, and then the same request
is asked again: so its key is verified again, and the view decides alone what is answered.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from rest_framework.request import Request

from jobs.conf import conf
from jobs.errors import TooManyHeld
from jobs.models import Tenant

AT_ONCE = 8
"""So many of the requests that may be held are in Django, each with a thread and a connection."""
SEND_SECONDS = 30
"""A client that takes so long to accept a piece of a stream is taken for gone."""
FULL_RETRY_SECONDS = 10
STREAM_PATH = "/api/v1/events"
_JOB_PATH = re.compile(r"/api/v1/jobs/[0-9A-Fa-f-]{32,36}", re.ASCII)
_IN_SCOPE = "jobs.held"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]
Change = Callable[[], Awaitable[None]]
Chunks = AsyncGenerator[bytes, None]

_log = logging.getLogger(__name__)
_held: Counter[int] = Counter()
"""How many answers of this process are held for each tenant."""


class _Hold:
    """What a view has to say about its answer."""

    def __init__(self) -> None:
        self.tenant_id = 0
        self.change: Change | None = None
        self.seconds = 0.0
        self.stream: Callable[[], Chunks] | None = None


def hold_until(request: Request, tenant: Tenant, change: Change, *, seconds: float) -> bool:
    """From a view: hold the answer back until the change, or for so long, and then ask again.

    False where nobody can: under WSGI, and when the tenant has as many as it may.
    """
    hold = _hold_of(request)
    if hold is None or _held[tenant.pk] >= conf().max_held_per_tenant:
        return False
    hold.tenant_id, hold.change, hold.seconds = tenant.pk, change, seconds
    return True


def go_on_with(request: Request, tenant: Tenant, chunks: Callable[[], Chunks]) -> bool:
    """From a view: let these follow upon the answer. False under WSGI, where nobody can.

    Raises `TooManyHeld` when the tenant has as many as it may.
    """
    hold = _hold_of(request)
    if hold is None:
        return False
    most = conf().max_held_per_tenant
    if _held[tenant.pk] >= most:
        raise TooManyHeld(
            f"A tenant may have {most} answers waiting; close some.",
            retry_after=FULL_RETRY_SECONDS,
            limit=most,
        )
    hold.tenant_id, hold.stream = tenant.pk, chunks
    return True


def _hold_of(request: Request) -> _Hold | None:
    found = getattr(request._request, "scope", {}).get(_IN_SCOPE)
    return found if isinstance(found, _Hold) else None


class Held:
    """An ASGI application around Django's."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; those that cannot be held are passed on as they are."""
        if not _may_be_held(scope):
            await self._application(scope, receive, send)
            return
        gone = asyncio.ensure_future(_wait_until_gone(receive))
        try:
            await self._serve(scope, gone, send)
        finally:
            gone.cancel()

    async def _serve(self, scope: Scope, gone: asyncio.Future[None], send: Send) -> None:
        began = time.monotonic()
        while True:
            hold, answer = _Hold(), list[Message]()
            await self._ask({**scope, _IN_SCOPE: hold}, answer)
            left = began + hold.seconds - time.monotonic()
            if hold.change is None or left <= 0 or gone.done():
                break
            with _counted(hold.tenant_id):
                await _first_of(hold.change(), gone, seconds=left)
        if gone.done():
            return
        if hold.stream is not None:
            with _counted(hold.tenant_id):
                await _stream(answer, hold.stream(), gone, send)
            return
        for message in answer:
            await send(message)

    async def _ask(self, scope: Scope, answer: list[Message]) -> None:
        async def keep(message: Message) -> None:
            answer.append(message)

        async with self._turns:
            await self._application(scope, _no_body(), keep)


def _may_be_held(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
        return False
    if scope["path"] == STREAM_PATH:
        return bool(scope["method"] == "GET")
    is_asked = any(name == b"prefer" for name, _ in scope["headers"])
    return is_asked and _JOB_PATH.fullmatch(scope["path"]) is not None


@contextmanager
def _counted(tenant_id: int) -> Iterator[None]:
    _held[tenant_id] += 1
    try:
        yield
    finally:
        _held[tenant_id] -= 1
        if not _held[tenant_id]:
            del _held[tenant_id]


def _no_body() -> Receive:
    """A request without a body. Who has read that may wait for more, and gets none."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    return receive


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _first_of(
    work: Awaitable[Any], gone: asyncio.Future[None], *, seconds: float | None = None
) -> asyncio.Future[Any]:
    """Let the work go on for so long, or until the client is gone; then it is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return task


async def _stream(
    answer: list[Message], chunks: Chunks, gone: asyncio.Future[None], send: Send
) -> None:
    """Send the answer without an end, and then the chunks as they come."""
    head, *bodies = answer
    head["headers"] = [(name, value) for name, value in head["headers"] if not _is_length(name)]
    try:
        await send(head)
        for message in bodies:
            await send({**message, "more_body": True})
        while not (step := await _first_of(anext(chunks), gone)).cancelled():
            if isinstance(step.exception(), StopAsyncIteration):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            piece = {"type": "http.response.body", "body": step.result(), "more_body": True}
            await asyncio.wait_for(send(piece), SEND_SECONDS)
    except TimeoutError:
        _log.info("a client read nothing of its stream for %s seconds", SEND_SECONDS)
    finally:
        await chunks.aclose()


def _is_length(name: bytes) -> bool:
    return name.lower() == b"content-length"
