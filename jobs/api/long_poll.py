"""Long polls under ASGI: a request for jobs is asked again when there may be some.

The view answers at once, as it does under WSGI. Here an answer without jobs is kept back, and the
same request is sent into Django again when the watcher of the process has seen a job for it. So
while a worker waits, it holds no thread and no connection, and has no request in Django.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from django.db import connections
from rest_framework.request import Request

from jobs.leases import Wish, give_back
from jobs.leases_waiting import Waiter, watcher
from jobs.models import Job

PATH = "/api/v1/leases"
MAX_BODY_BYTES = 100_000
"""A request that is larger is none for jobs; the view says what is wrong with it."""
AT_ONCE = 8
"""So many requests for jobs are in Django, each with a thread and a connection, when many come."""
_IN_SCOPE = "jobs.long_poll"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class _Poll:
    """What the view has to say: what was granted, or what the request waits for and how long."""

    def __init__(self) -> None:
        self.granted: Sequence[Job] = ()
        self.wish: Wish | None = None
        self.seconds = 0.0


def hand_out(request: Request, jobs: Sequence[Job]) -> None:
    """From the view: these were granted. They go back if the client is gone when it is answered."""
    if poll := _poll_of(request):
        poll.granted = jobs


def may_wait(request: Request, wish: Wish, seconds: float) -> bool:
    """From the view: keep the answer back for so long, or until there may be jobs.

    False where nobody can: under WSGI, where each waiting request would hold a thread, and where
    too many of the tenant's wait already.
    """
    poll = _poll_of(request)
    if poll is None or not seconds or watcher.is_full_for(wish):
        return False
    poll.wish, poll.seconds = wish, seconds
    return True


def _poll_of(request: Request) -> _Poll | None:
    found = getattr(request._request, "scope", {}).get(_IN_SCOPE)
    return found if isinstance(found, _Poll) else None


class LongPoll:
    """An ASGI application around Django's."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; all but those for jobs are passed on as they are."""
        if scope.get("path") != PATH or scope.get("method") != "POST":
            await self._application(scope, receive, send)
            return
        client = _Client(receive)
        if await client.has_sent_all():
            await self._serve(scope, client, send)
        else:
            await self._application(scope, client.whole_request, send)

    async def _serve(self, scope: Scope, client: "_Client", send: Send) -> None:
        began = time.monotonic()
        gone = asyncio.ensure_future(client.wait_until_gone())
        try:
            while True:
                poll, answer = _Poll(), _Answer()
                asked = {**scope, _IN_SCOPE: poll}
                async with self._turns:
                    await self._application(asked, client.body_alone(), answer.keep)
                left = began + poll.seconds - time.monotonic()
                if poll.wish is None or not await _is_woken(poll.wish, left, gone):
                    break
            await asyncio.sleep(0)  # whoever has left can say so
            if not gone.done():
                await answer.pass_on(send)
            elif poll.granted:
                await asyncio.to_thread(_give_back, poll.granted)
        finally:
            gone.cancel()


async def _is_woken(wish: Wish, seconds: float, gone: asyncio.Future[None]) -> bool:
    """Wait until there may be jobs; False if the time was over or the client gone before."""
    if seconds <= 0:
        return False
    waiter = Waiter(wish)
    watcher.join(waiter)
    try:
        await asyncio.wait(
            {waiter.woken, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        watcher.leave(waiter)
    return waiter.woken.done() and not gone.done()


def _give_back(jobs: Sequence[Job]) -> None:
    try:
        give_back(jobs)
    finally:
        connections.close_all()


class _Client:
    """The request's body, read once, and whether its sender is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: list[Message] = []

    async def has_sent_all(self) -> bool:
        """Read as much as a request for jobs can have; whether that was all of it."""
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


class _Answer:
    """What the application answered, kept back."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    async def keep(self, message: Message) -> None:
        """In place of `send`."""
        self._messages.append(message)

    async def pass_on(self, send: Send) -> None:
        """Send it."""
        for message in self._messages:
            await send(message)
