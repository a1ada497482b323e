"""Files that are sent while they are made, whatever server it is that sends them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

REST = 1
"""After a step that found nothing there is none for so many times as long as that took."""


def sent(request: HttpRequest, pieces: Iterator[bytes]) -> Iterator[bytes] | AsyncIterator[bytes]:
    """The pieces for a streaming answer to the request; an empty one says that more may follow."""
    is_async = isinstance(request, ASGIRequest)
    return _by_event_loop(pieces) if is_async else _by_thread(pieces)


def _by_thread(pieces: Iterator[bytes]) -> Iterator[bytes]:
    began = time.monotonic()
    for piece in pieces:
        if not piece:
            time.sleep(REST * (time.monotonic() - began))
        yield piece
        began = time.monotonic()


async def _by_event_loop(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same, without occupying the event loop; Django would otherwise collect all of it."""
    following: Any = sync_to_async(next)
    began = time.monotonic()
    while (piece := await following(pieces, None)) is not None:
        if not piece:
            await asyncio.sleep(REST * (time.monotonic() - began))
        yield piece
        began = time.monotonic()
