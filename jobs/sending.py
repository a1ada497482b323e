"""Files that are sent while they are made, whatever server it is that sends them."""

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest

Pieces = Generator[bytes, None, None]
REST = 1
"""After a step that found nothing there is none for so many times as long as that took."""


def sent(request: HttpRequest, pieces: Pieces) -> Iterator[bytes] | AsyncIterator[bytes]:
    """The pieces for a streaming answer to the request; an empty one says that more may follow."""
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
