"""Answers that are held back under ASGI: until there is news, or as a stream that goes on.

The view answers at once, as it does under WSGI, and says what its answer may wait for. Here that is
waited for outside of Django, where nobody holds a thread or a connection, and then the same request
is asked again: so its key is verified again, and the view decides alone what is answered.
"""

import asyncio
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from rest_framework.request import Request

from jobs.api.asgi import Application, AsgiScope, Message, Receive, Send
from jobs.conf import conf
from jobs.errors import TooManyHeld
from jobs.models import Tenant

AT_ONCE = 8
"""So many of the requests that may be held are in Django, each with a thread and a connection."""
MAX_BODY_BYTES = 100_000
"""A larger request waits for nothing; the view says what is wrong with it."""
SEND_SECONDS = 30
"""A client that takes so long to accept a piece of a stream is taken for gone."""
FULL_RETRY_SECONDS = 10
STREAM_PATH = "/api/v1/events"
_JOB_PATH = re.compile(r"/api/v1/jobs/[0-9A-Fa-f-]{32,36}", re.ASCII)
_IN_SCOPE = "jobs.held"

Change = Callable[[], Awaitable[None]]
Chunks = AsyncGenerator[bytes, None]

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_held: Counter[Hashable] = Counter()
"""How many answers of this process are held, for each of whom."""


class Place:
    """One request's place among those whose answers are held: views take it, in many threads."""

    def __init__(self) -> None:
        self._whose: Hashable = None
        self._is_over = False

    def take(self, whose: Hashable, most: int) -> bool:
        """Whether there is one of so many; a request that is asked again has kept its own."""
        with _lock:
            if self._whose is None and not self._is_over and _held[whose] < most:
                self._whose = whose
                _held[whose] += 1
            return self._whose == whose

    def give_up(self) -> None:
        """For good: a view that is still at work for a client who is gone takes none any more."""
        with _lock:
            whose, self._whose, self._is_over = self._whose, None, True
            if whose is not None:
                _held[whose] -= 1
                if not _held[whose]:
                    del _held[whose]


@dataclass
class Hold:
    """What a view has to say about its answer."""

    change: Change | None = None
    """What it waits for, `seconds` long."""
    seconds: float = 0
    ages: bool = False
    """Whether it is to be asked for again where nothing has changed in that time."""
    stream: Callable[[], Chunks] | None = None
    """What follows upon it."""
    place: Place = field(default_factory=Place)
    undo: Callable[[], None] | None = None
    """What to do, in a thread, if its client is gone."""


def hold_of(request: Request) -> Hold | None:
    """Where a view can say it; None where nobody holds answers, as under WSGI."""
    found = getattr(request._request, "scope", {}).get(_IN_SCOPE)
    return found if isinstance(found, Hold) else None


def hold_until(request: Request, tenant: Tenant, change: Change, *, seconds: float) -> bool:
    """From a view: hold the answer back until the change, or for so long, and then ask again.

    False where nobody can: under WSGI, and when the tenant has as many as it may.
    """
    hold = hold_of(request)
    if hold is None or not hold.place.take(tenant.pk, conf().max_held_per_tenant):
        return False
    hold.change, hold.seconds, hold.ages = change, seconds, True
    return True


def go_on_with(request: Request, tenant: Tenant, chunks: Callable[[], Chunks]) -> bool:
    """From a view: let these follow upon the answer. False under WSGI, where nobody can.

    Raises `TooManyHeld` when the tenant has as many as it may.
    """
    hold = hold_of(request)
    if hold is None:
        return False
    most = conf().max_held_per_tenant
    if not hold.place.take(tenant.pk, most):
        raise TooManyHeld(
            f"A tenant may have {most} answers waiting; close some.",
            retry_after=FULL_RETRY_SECONDS,
            limit=most,
        )
    hold.stream = chunks
    return True


def asks_for_news(scope: AsgiScope) -> bool:
    """Whether the request is for the stream of events, or for a job and prefers to wait."""
    if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
        return False
    if scope["path"] == STREAM_PATH:
        return bool(scope["method"] == "GET")
    is_asked = any(name == b"prefer" for name, _ in scope["headers"])
    return is_asked and _JOB_PATH.fullmatch(scope["path"]) is not None


class Held:
    """An ASGI application around another, for some of its requests."""

    def __init__(self, application: Application, may_be_held: Callable[[AsgiScope], bool]) -> None:
        self._application = application
        self._may_be_held = may_be_held
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer a request; those that cannot be held are passed on as they are."""
        if not self._may_be_held(scope):
            await self._application(scope, receive, send)
            return
        client = _Client(receive)
        if await client.has_sent_all():
            await self._serve(scope, client, send)
        else:
            await self._application(scope, client.whole_request, send)

    async def _serve(self, scope: AsgiScope, client: "_Client", send: Send) -> None:
        gone = asyncio.ensure_future(client.wait_until_gone())
        place = Place()
        try:
            hold, answer = await self._final_answer(scope, client, gone, place)
            if hold.stream is None:
                place.give_up()  # who has read the answer may come again
            await asyncio.sleep(0)  # whoever has left can say so
            if not gone.done():
                await _send_on(hold, answer, gone, send)
            elif hold.undo:
                await asyncio.to_thread(hold.undo)
        finally:
            place.give_up()
            gone.cancel()

    async def _final_answer(
        self, scope: AsgiScope, client: "_Client", gone: asyncio.Future[None], place: Place
    ) -> tuple[Hold, list[Message]]:
        began = time.monotonic()
        while True:
            hold, answer = await self._ask(scope, client, Hold(place=place))
            left = began + hold.seconds - time.monotonic()
            if hold.change is None or left <= 0 or gone.done():
                return hold, answer
            change = await _first_of(hold.change(), gone, seconds=left)
            if gone.done() or _has_failed(change) or (change.cancelled() and not hold.ages):
                return hold, answer

    async def _ask(
        self, scope: AsgiScope, client: "_Client", hold: Hold
    ) -> tuple[Hold, list[Message]]:
        answer = list[Message]()

        async def keep(message: Message) -> None:
            answer.append(message)

        async with self._turns:
            await self._application({**scope, _IN_SCOPE: hold}, client.body_alone(), keep)
        return hold, answer


class _Client:
    """The request's body, read once, and whether its sender is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: list[Message] = []

    async def has_sent_all(self) -> bool:
        """Read as much as a request that may be held can have; whether that was all of it."""
        size = 0
        while size <= MAX_BODY_BYTES:
            message = await self._receive()
            self._read.append(message)
            size += len(message.get("body", b""))
            if message["type"] == "http.disconnect":
                return False
            if not message.get("more_body", False):
                return True
        return False

    def body_alone(self) -> Receive:
        """The request from its beginning. Who has read it may wait for more, and gets none."""
        kept = iter(self._read)

        async def receive() -> Message:
            return next(kept, None) or await asyncio.get_running_loop().create_future()

        return receive

    async def whole_request(self) -> Message:
        """What was read, and then what comes."""
        return self._read.pop(0) if self._read else await self._receive()

    async def wait_until_gone(self) -> None:
        """Until the connection is closed."""
        while (await self._receive())["type"] != "http.disconnect":
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


def _has_failed(change: asyncio.Future[Any]) -> bool:
    """Whether what was waited for cannot be waited for: asking again would not end."""
    error = change.done() and not change.cancelled() and change.exception()
    if error:
        _log.warning("an answer could not be held back", exc_info=error)
    return bool(error)


async def _send_on(
    hold: Hold, answer: list[Message], gone: asyncio.Future[None], send: Send
) -> None:
    if hold.stream is not None:
        await _stream(answer, hold.stream(), gone, send)
        return
    for message in answer:
        await send(message)


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
