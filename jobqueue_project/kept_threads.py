"""Requests under ASGI in threads that are kept, and with each its connection to the database."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.http.response import HttpResponseBase

AT_ONCE = 16
"""Requests that are answered at a time; the others wait in line."""
_IN_SCOPE = "jobqueue_project.seat"


class KeptThreads(ASGIHandler):
    """Django's, but that a request is answered in one step into a thread, and the thread is kept.

    Django's own starts a thread for each request, and changes between that and the event loop at
    every middleware. What is sent while it is made leaves the thread to others (`jobs.sending`).
    """

    def __init__(self, max_age: float | None) -> None:
        """`max_age` is Django's CONN_MAX_AGE, in seconds, for the connections of these threads."""
        super().__init__()
        self.threads = [_thread(max_age) for _ in range(AT_ONCE)]
        self._idle: asyncio.LifoQueue[ThreadPoolExecutor] = asyncio.LifoQueue()
        for thread in self.threads:
            self._idle.put_nowait(thread)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request; a probe in a thread of its own: to wait in line is no ill health."""
        if scope["path"].startswith("/health/"):
            await super().__call__(scope, receive, send)
            return
        seat = _Seat(await self._idle.get(), self._idle)
        try:
            async with ThreadSensitiveContext(executor=seat.thread):
                await self.handle({**scope, _IN_SCOPE: seat}, receive, send)
        finally:
            seat.leave()

    def load_middleware(self, is_async: bool = False) -> None:
        """As under WSGI: what is mixed changes threads at every middleware."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: Any) -> HttpResponseBase:
        """The answer, made in the thread from the first middleware to the last."""
        response = await sync_to_async(self.get_response)(request)
        if seat := request.scope.get(_IN_SCOPE):
            seat.is_answered = True
            if response.streaming:
                seat.leave()
        return response


def _thread(max_age: float | None) -> ThreadPoolExecutor:
    """One that starts when it is first needed."""
    return ThreadPoolExecutor(1, "request", initializer=_keep, initargs=(max_age,))


def _keep(max_age: float | None) -> None:
    for one in connections.all():
        one.settings_dict = {**one.settings_dict, "CONN_MAX_AGE": max_age}


class _Seat:
    """A request's turn in a thread."""

    def __init__(
        self, thread: ThreadPoolExecutor, idle: "asyncio.Queue[ThreadPoolExecutor]"
    ) -> None:
        self.thread = thread
        self.is_answered = False
        self._idle = idle
        self._is_over = False

    def leave(self) -> None:
        """Let another have the thread: at once, or when the view of one who has left is done."""
        if self._is_over:
            return
        self._is_over = True
        if self.is_answered:
            self._idle.put_nowait(self.thread)
        else:
            loop = asyncio.get_running_loop()
            self.thread.submit(loop.call_soon_threadsafe, self._idle.put_nowait, self.thread)
