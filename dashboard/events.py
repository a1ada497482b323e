"""`GET /api/v1/events`: tells a program what of its tenant changed, as server-sent events.

    id: 1924992000000-0f3a…        event: changed        data: {"changed": ["jobs", "queues"]}

It is the feed of the pages, for keys: names of what to fetch again, never what is in it. An id says
how things stood then, so any process can tell what changed since; after `FORGOTTEN_SECONDS` that is
no longer certain, and `reset` says that all has to be fetched. A stream holds no thread and no
connection, and nothing grows for a client that reads slowly: changes merge.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache, partial
from typing import Any
from zlib import crc32

from django.http import HttpResponse
from rest_framework.request import Request

from dashboard.snapshot import Figures, read_snapshot
from dashboard.stream import Feed, Subscriber, feed
from jobs.api.held import go_on_with
from jobs.api.schema import LAST_EVENT_ID, TEXT, Schema, described, record
from jobs.api.view import AnyAnswer, TenantView
from jobs.errors import TenantInactive
from jobs.keys import Scope, key_watch

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_SECONDS = 15
LIFE_SECONDS = 600
"""A stream ends after about so long, and its client resumes: so no buffer on the way grows on."""
RETRY_MILLISECONDS = 1_000
RETRY_WITHOUT_STREAM_MILLISECONDS = 5_000
FORGOTTEN_SECONDS = 60

RESOURCES: Mapping[str, tuple[str, ...]] = {
    "dlq": ("dead",),
    "jobs": ("newest_job", "running", "unusual", "ended"),
    "metrics": ("newest_job", "running", "unusual", "ended"),
    "queues": ("newest_job", "running", "unusual", "ended", "settings"),
    "tenant": ("settings",),
}
"""What can change, and the figures by which it is known to have; `tenant` are settings and keys."""
_DATA = record({"changed": {"type": "array", "items": {"type": "string", "enum": [*RESOURCES]}}})
EVENT: Schema = {
    **record(
        {
            "id": TEXT,
            "event": {"type": "string", "enum": ["changed", "reset"]},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": _DATA,
            },
        }
    ),
    "description": "One event; the stream is any number of them.",
}


def event_id(figures: Figures, moment: float) -> str:
    """How things stood at a moment (seconds since 1970): its time, and a print of each resource."""
    return f"{int(moment * 1_000)}-{_prints(figures)}"


@lru_cache(maxsize=1_000)  # all streams of a tenant tell the same
def _prints(figures: Figures) -> str:
    each = ([getattr(figures, one) for one in inputs] for inputs in RESOURCES.values())
    return "".join(f"{crc32(repr(values).encode()):08x}" for values in each)


def changed_since(known: str, figures: Figures, moment: float) -> list[str] | None:
    """What changed since the event of that id; None if that cannot be told any more."""
    sent, _, prints = known.partition("-")
    own = event_id(figures, moment).partition("-")[2]
    is_ours = sent.isdecimal() and len(sent) < 16 and len(prints) == len(own)
    if not is_ours or abs(moment - int(sent) / 1_000) > FORGOTTEN_SECONDS:
        return None
    at = range(0, len(own), 8)
    return [
        name for name, i in zip(RESOURCES, at, strict=True) if prints[i : i + 8] != own[i : i + 8]
    ]


def changed_between(before: Figures, after: Figures) -> list[str]:
    """The resources that look different."""
    return [
        name
        for name, inputs in RESOURCES.items()
        if any(getattr(before, one) != getattr(after, one) for one in inputs)
    ]


def written(event: str, figures: Figures, changed: list[str]) -> bytes:
    """An event as it is sent."""
    data = json.dumps({"changed": changed})
    return f"id: {event_id(figures, time.time())}\nevent: {event}\ndata: {data}\n\n".encode()


def heartbeat(figures: Figures) -> bytes:
    """A comment, and an id to resume from: without data, it is no event."""
    return f": heartbeat\nid: {event_id(figures, time.time())}\n\n".encode()


def opening(known: str | None, figures: Figures) -> bytes:
    """What a client is told first, by the id that it knows."""
    changed = changed_since(known, figures, time.time()) if known else None
    if changed is None:
        return written("reset", figures, list(RESOURCES))
    return written("changed", figures, changed) if changed else heartbeat(figures)


class EventStream(Subscriber):
    """A client's view of the feed: what it was told of its tenant last."""

    def __init__(self, feed: Feed, tenant_id: int, seen: Figures) -> None:
        super().__init__(frozenset({tenant_id}))
        self.take()  # the client knows that it has to fetch everything
        self._feed = feed
        self._tenant_id = tenant_id
        self._seen = seen

    def tell(self, changed: dict[str, set[int]]) -> None:
        """Wake if the tenant looks different from what the client was told."""
        self.is_behind = False
        if self._now() != self._seen:
            self.news.set()

    def _now(self) -> Figures:
        return self._feed.latest.get(self._tenant_id, self._seen)

    async def chunks(self, key_id: int) -> AsyncGenerator[bytes, None]:
        """Events and heartbeats, until the key is no longer valid or the stream's life is over."""
        key_is_gone = asyncio.ensure_future(key_watch.changed(key_id, True))
        until = time.monotonic() + LIFE_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311
        self._feed.join(self)
        try:
            while not key_is_gone.done() and time.monotonic() < until:
                yield await self._next(key_is_gone)
        finally:
            self._feed.leave(self)
            key_is_gone.cancel()
            await asyncio.gather(key_is_gone, return_exceptions=True)

    async def _next(self, key_is_gone: asyncio.Future[Any]) -> bytes:
        news: asyncio.Future[Any] = asyncio.ensure_future(self.news.wait())
        try:
            await asyncio.wait(
                {news, key_is_gone}, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            news.cancel()
        self.news.clear()
        now = self._now()
        changed, self._seen = changed_between(self._seen, now), now
        return written("changed", now, changed) if changed else heartbeat(now)


class Events(TenantView):
    """`/events`"""

    scopes = {"GET": Scope.READ}
    is_of_whole_tenant = True
    content_negotiation_class = AnyAnswer

    @described(
        "stream_events",
        "What changes, as server-sent events",
        answers={200: EVENT},
        parameters=[LAST_EVENT_ID],
        problems=("queue_not_allowed", "tenant_inactive", "too_many_held"),
        media_types=(MEDIA_TYPE,),
    )
    def get(self, request: Request) -> HttpResponse:
        """Names of what to fetch again: `jobs`, `dlq`, `queues`, `metrics`, `tenant`.

        `changed` has what changed since the last event, `reset` everything: at the beginning, and
        where the `Last-Event-ID` is too old (60 seconds). Once a second at most; a comment every 15
        seconds. The stream ends after about ten minutes, and when its key is revoked. Under WSGI it
        ends at once, with `retry: 5000`: clients that resume then ask every five seconds.
        """
        figures = read_snapshot([self.tenant.pk]).get(self.tenant.pk)
        if figures is None:
            raise TenantInactive("The tenant is gone.")
        stream = EventStream(feed, self.tenant.pk, figures)
        goes_on = go_on_with(request, self.tenant, partial(stream.chunks, self.key.pk))
        retry = RETRY_MILLISECONDS if goes_on else RETRY_WITHOUT_STREAM_MILLISECONDS
        first = opening(request.headers.get("Last-Event-ID"), figures)
        return HttpResponse(
            f"retry: {retry}\n\n".encode() + first,
            content_type=MEDIA_TYPE,
            headers={"X-Accel-Buffering": "no"},
        )
