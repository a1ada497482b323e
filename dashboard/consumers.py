"""The socket of a page: says which regions changed, never what is in them.

    server  {"seq": 7, "changed": ["jobs", "tiles"]}      or with "trouble": true
    client  {"seen": 7}

The next message waits for the client's answer to the last one. So one message at most is under way,
changes meanwhile merge into the next, and no client can make a queue grow here.
"""

import asyncio
import json
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import parse_qs

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error as DatabaseError

from dashboard.stream import Subscriber, feed
from jobs import access

MAX_MESSAGE_CHARACTERS = 1_024
HEARTBEAT_SECONDS = 5
"""A page calls itself stale when it has heard nothing for twice as long."""
RECHECK_SECONDS = 60

_log = logging.getLogger(__name__)

# Like statuses of HTTP. Of the protocol's own codes daphne lets an application send 1000 alone.
UNEXPECTED = 4400
NOT_LOGGED_IN = 4401
NOT_SEEN = 4404
NO_ANSWER = 4408
TOO_BIG = 4413


class Refused(Exception):
    """This socket may not be open. `code` is the reason the browser is told."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the socket is closed with {code}")
        self.code = code


class LiveConsumer(AsyncWebsocketConsumer):
    """One open page."""

    feed: ClassVar = feed

    async def connect(self) -> None:
        """Admit users who are logged in, for the tenants they see. The close code says why not."""
        self.subscriber: Subscriber | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.seq = 0
        self.answered = asyncio.Event()
        await self.accept()
        try:
            self.subscriber = Subscriber(await self._visible())
        except Refused as refused:
            await self.close(refused.code)
            return
        self.feed.join(self.subscriber)
        self._start(self._send_changes(self.subscriber))
        self._start(self._check_again(self.subscriber))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def disconnect(self, code: int) -> None:
        """Leave the feed."""
        if self.subscriber:
            self.feed.leave(self.subscriber)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The client's answer to the last message; anything else ends the connection."""
        if text_data is None or len(text_data) > MAX_MESSAGE_CHARACTERS:
            await self.close(TOO_BIG)
        elif self.answered.is_set() or not _is_answer(text_data, self.seq):
            await self.close(UNEXPECTED)
        else:
            self.answered.set()

    async def _send_changes(self, subscriber: Subscriber) -> None:
        """Send what changed, a heartbeat if nothing did, and each only after the last was seen."""
        while True:
            with suppress(TimeoutError):  # Nothing changed: the message is a heartbeat.
                await asyncio.wait_for(subscriber.news.wait(), HEARTBEAT_SECONDS)
            self.seq += 1
            self.answered.clear()
            message = {"seq": self.seq, "changed": subscriber.take()}
            if subscriber.is_behind:
                message["trouble"] = True
            await self.send(json.dumps(message))
            await self.answered.wait()

    async def _check_again(self, subscriber: Subscriber) -> None:
        """Every minute: is the user still logged in, still a member, and still answering?"""
        while True:
            seq = self.seq
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                subscriber.tenant_ids = await self._visible()
                self._require_answer(seq)
            except Refused as refused:
                await self.close(refused.code)
                return
            except DatabaseError:
                _log.warning("a socket's rights could not be checked; again in a while")

    def _require_answer(self, seq: int) -> None:
        """Refuse a client that has not answered the message it had a whole round ago."""
        if not self.answered.is_set() and self.seq == seq:
            raise Refused(NO_ANSWER)

    async def _visible(self) -> frozenset[int] | None:
        """The tenants this socket may hear of, as of now. Raises `Refused`."""
        session = self.scope["session"]
        user = await get_user({"session": session.__class__(session.session_key)})
        if not user.is_authenticated:
            raise Refused(NOT_LOGGED_IN)
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        return await _visible_tenants(user, query.get("tenant", [""])[0])


class Nowhere(AsyncWebsocketConsumer):
    """A socket of an address where nothing is."""

    async def connect(self) -> None:
        """Say so, by the close code."""
        await self.accept()
        await self.close(NOT_SEEN)


@database_sync_to_async
def _visible_tenants(user: Any, slug: str) -> frozenset[int] | None:
    """The ids of the tenants that the user sees, None for all of them; those of a slug if given."""
    seen = access.tenants_of_user(user)
    if slug:
        seen = seen.filter(slug=slug)
        if "\0" in slug or not seen:
            raise Refused(NOT_SEEN)
    elif user.is_staff:
        return None
    return frozenset(tenant.pk for tenant in seen)


def _is_answer(text: str, seq: int) -> bool:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("seen") == seq
