"""Exports: files that are sent while they are made, whatever server it is that sends them."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Generator, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from jobs.errors import TooManyExports

Pieces = Generator[bytes, None, None]
REST = 1
"""After a step that found nothing there is none for so many times as long as that took."""


AT_ONCE, AT_ONCE_BY_THREAD = 4, 1
"""Files that a process sends; by an event loop, which keeps in memory what a slow reader has not
fetched, and by a thread, of which a process has two."""
AT_ONCE_OF_ONE = 2
RETRY_SECONDS = 10

_open: WeakSet["File"] = WeakSet()
"""What this process is sending."""
_lock = threading.Lock()


class File(StreamingHttpResponse):
    """An answer that is sent while it is made; an empty piece says that more may follow.

    It counts until it is closed or, where nobody came to close it, forgotten. To a HEAD it is its
    headers alone, and counts for nothing: who asks for no pieces would wait for them all.
    """

    def __init__(
        self, request: HttpRequest, pieces: Pieces, *, whose: Hashable, **options: Any
    ) -> None:
        """Raises `TooManyExports`, for this reader or for all of them."""
        if request.method == "HEAD":
            pieces.close()
        super().__init__(sent(request, pieces), **options)
        self.whose = whose
        if request.method == "HEAD":
            return
        with _lock:
            _refuse_too_many(whose, AT_ONCE if self.is_async else AT_ONCE_BY_THREAD)
            _open.add(self)

    def close(self) -> None:
        """Make room for another one."""
        super().close()
        with _lock:
            _open.discard(self)


def _refuse_too_many(whose: Hashable, most: int) -> None:
    own = sum(one.whose == whose for one in _open)
    if own >= AT_ONCE_OF_ONE or len(_open) >= most:
        limit = AT_ONCE_OF_ONE if own >= AT_ONCE_OF_ONE else most
        raise TooManyExports(
            f"As many exports as may be sent at a time ({limit}) are under way: read yours to its "
            "end, or try again.",
            retry_after=RETRY_SECONDS,
            limit=limit,
        )


def sent(request: HttpRequest, pieces: Pieces) -> Iterator[bytes] | AsyncIterator[bytes]:
    """The pieces for a streaming answer to the request that is bounded and counts for nothing."""
    is_async = isinstance(request, ASGIRequest)
    return _by_event_loop(pieces) if is_async else _by_thread(pieces)


def _by_thread(pieces: Pieces) -> Iterator[bytes]:
    began = time.monotonic()
    for piece in pieces:
        if not piece:
            time.sleep(REST * (time.monotonic() - began))
        yield piece
        began = time.monotonic()


async def _by_event_loop(pieces: Pieces) -> AsyncIterator[bytes]:
    """The same in a thread of its own: neither the event loop nor a thread of requests waits."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="file")
    following: Any = sync_to_async(next, thread_sensitive=False, executor=thread)
    began = time.monotonic()
    try:
        while (piece := await following(pieces, None)) is not None:
            if not piece:
                await asyncio.sleep(REST * (time.monotonic() - began))
            yield piece
            began = time.monotonic()
    finally:
        thread.submit(_end, pieces)
        thread.shutdown(wait=False)


def _end(pieces: Pieces) -> None:
    try:
        pieces.close()
    finally:
        connections.close_all()
