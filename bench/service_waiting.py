"""An ASGI process on which very many wait: what it takes meanwhile, and whether all are told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection

from bench import load
from bench.footprint import cpu_seconds, memory_of
from bench.scenario import BenchError, Figure, Sample, Settings
from bench.service import tenant_with_keys
from bench.service_sockets import Page, leased
from jobs import services
from jobs.models import Tenant
from jobs.submission import NewJob
from tests.harness import ProjectProcess
from tests.live_server import live_server

WAITING, IDLE_SECONDS, TELL_SECONDS = 1_000, 5, 120
COMING_SECONDS, LOOK_SECONDS, CALM = 120, 5, 0.15
AT_ONCE = 8
"""So many connect at the same time: what is measured is how they wait."""
JOB = NewJob(task="remote:noop", payload=b"{}")


def waiting(settings: Settings) -> Iterator[Sample]:
    """So many workers and so many pages wait; then there is a job for each worker."""
    for _ in settings.each_run():
        load.wipe()
        tenant, keys = tenant_with_keys("remote", None)
        (key,) = keys[0].items()
        with live_server() as (address, server):
            port = int(address.rsplit(":", 1)[1])
            scene = _Scene(server, port, f"{key[0]}: {key[1]}\r\n", session_cookie())
            yield asyncio.run(scene.play(tenant, settings.jobs(WAITING), settings.scale))


def session_cookie() -> str:
    """The cookie of somebody who sees everything."""
    user, _ = User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{django_settings.SESSION_COOKIE_NAME}={session.session_key}"


class _Scene:
    """Those who wait on one server."""

    def __init__(self, server: ProjectProcess, port: int, headers: str, cookie: str) -> None:
        self._server, self._port, self._headers, self._cookie = server, port, headers, cookie

    async def play(self, tenant: Tenant, each: int, scale: float) -> Sample:
        """Let them come, wait, and be told."""
        before = memory_of(self._server.pid)["Rss"]
        pages = [Page(self._port, self._cookie) for _ in range(each)]
        await _few_at_once([page.open for page in pages])
        polls = [asyncio.create_task(leased(self._port, self._headers)) for _ in range(each)]
        await self._all_there(scale)
        busy = await self._busy(IDLE_SECONDS * scale)
        after = memory_of(self._server.pid)["Rss"]
        for page in pages:
            page.changed.clear()
        began = time.monotonic()
        await asyncio.to_thread(_submit, tenant, each)
        told = asyncio.create_task(_all_told(pages, began))
        polled = await _all_leased(polls, began)
        seen = await told
        for page in pages:
            await page.close()
        return {
            "resident before": Figure(before),
            "resident": Figure(after),
            "processor": Figure(100 * busy),
            "last worker": Figure(polled),
            "last page": Figure(seen),
        }

    async def _all_there(self, scale: float) -> None:
        """Until nobody comes any more, as far as that shows: the server has little to do."""
        deadline = time.monotonic() + COMING_SECONDS
        while await self._busy(LOOK_SECONDS * scale) > CALM and time.monotonic() < deadline:
            continue

    async def _busy(self, seconds: float) -> float:
        """The part of a core that the server takes for so long."""
        busy, began = cpu_seconds(self._server.family()), time.monotonic()
        await asyncio.sleep(seconds)
        return (cpu_seconds(self._server.family()) - busy) / (time.monotonic() - began)


def _submit(tenant: Tenant, jobs: int) -> None:
    try:
        services.submit_many(tenant, [JOB] * jobs)
    finally:
        connection.close()


async def _few_at_once(openings: Sequence[Callable[[], Awaitable[None]]]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def pass_gate(opening: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await opening()

    await asyncio.gather(*map(pass_gate, openings))


async def _all_leased(polls: Sequence[asyncio.Task[list[Any]]], began: float) -> float:
    """When the last worker got its job; raises `BenchError` unless each got one of its own."""
    _, late = await asyncio.wait(polls, timeout=TELL_SECONDS)
    for poll in late:
        poll.cancel()
    if late:
        raise BenchError(f"{len(late)} of {len(polls)} workers got no job.")
    if len({job["id"] for poll in polls for job in poll.result()}) != len(polls):
        raise BenchError("Some workers got the same job.")
    return time.monotonic() - began


async def _all_told(pages: Sequence[Page], began: float) -> float:
    """When the last page was told; raises `BenchError` if one was not."""
    while waiting := sum(not page.changed for page in pages):
        if time.monotonic() > began + TELL_SECONDS:
            raise BenchError(f"{waiting} of {len(pages)} pages were told nothing.")
        await asyncio.sleep(0.01)
    return time.monotonic() - began
