"""Requests to the ASGI application in this process: on an event loop, and without a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections

from jobqueue_project.requests import accept_any_content_type
from jobs.api.asgi import Application
from jobs.api.door import Door
from jobs.api.held import Held, asks_for_news

PATIENCE_SECONDS = 60
http = get_asgi_application()
"""Django's own: its threads end with their requests. A server keeps them (`kept_threads`)."""
# So no thread keeps its connection, as in `jobqueue_project.asgi`, which not every test imports.
connections.settings["default"]["CONN_MAX_AGE"] = 0
accept_any_content_type(http)
_applications: WeakKeyDictionary[asyncio.AbstractEventLoop, Application] = WeakKeyDictionary()
"""One for each loop: what waits in turns belongs to a loop, of which a server has one."""


def in_database(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that uses the database, to be called on a loop."""

    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        finally:
            connections.close_all()

    return sync_to_async(call, thread_sensitive=False)


class Exchange:
    """One request, while it is answered."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        address = urlsplit(path)
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": address.path,
            "raw_path": address.path.encode(),
            "query_string": address.query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_over = False
        self._has_left = asyncio.Event()
        self._news = asyncio.Condition()
        self._is_asked = False
        self._reads = asyncio.Event()
        self._reads.set()

    async def run(self) -> None:
        """Until it is answered."""
        loop = asyncio.get_running_loop()
        application = _applications.setdefault(loop, Door(Held(http, asks_for_news)))
        await application(self.scope, self._receive, self._send)

    def leave(self) -> None:
        """The client closes the connection."""
        self._has_left.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._is_asked:
            self._is_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    def stop_reading(self) -> None:
        """Accept nothing more, without leaving."""
        self._reads.clear()

    async def _send(self, message: dict[str, Any]) -> None:
        await self._reads.wait()
        async with self._news:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                pairs = message["headers"]
                self.headers = {k.decode().lower(): v.decode() for k, v in pairs}
            else:
                self.body += message.get("body", b"")
                self.is_over = not message.get("more_body", False)
            self._news.notify_all()

    async def until(self, part: bytes) -> None:
        """Wait until this was answered."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._news:
            await self._news.wait_for(lambda: part in self.body)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@asynccontextmanager
async def asked(path: str, key: str, **headers: str) -> AsyncIterator[tuple[Exchange, Any]]:
    """A GET that is under way, and its task; left at the end of the block."""
    given = {"Host": "localhost", "Authorization": f"Bearer {key}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    exchange = Exchange("GET", f"/api/v1{path}", given)
    task = asyncio.create_task(exchange.run())
    try:
        yield exchange, task
    finally:
        exchange.leave()
        await asyncio.wait_for(task, PATIENCE_SECONDS)


async def get(path: str, key: str, **headers: str) -> Exchange:
    """A GET that is answered."""
    async with asked(path, key, **headers) as (exchange, task):
        await asyncio.wait_for(task, PATIENCE_SECONDS)
    return exchange
