"""An export whose reader leaves before its end, under an asynchronous server."""

import asyncio
from collections.abc import Iterator
from threading import Semaphore

import pytest

from jobs.api import export_views
from jobs.exports import Form
from jobs.job_search import Search
from jobs.keys import create_api_key
from jobs.models import Tenant
from tests.api.asgi import asked, get


@pytest.mark.django_db(transaction=True)
def test_it_ends_with_its_reader_and_makes_room_for_another(
    alice: Tenant, mallory: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = create_api_key(mallory, actor="command:test")[1]
    key, ended = create_api_key(alice, actor="command:test")[1], Semaphore(0)

    def endless(search: Search, form: Form) -> Iterator[bytes]:
        try:
            yield b"begun"
            while True:
                yield b""
        finally:
            ended.release()

    monkeypatch.setattr(export_views, "chunks", endless)

    async def read_and_leave() -> None:
        async with asked("/jobs/export", key) as (one, _), asked("/jobs/export", key) as (two, _):
            await one.until(b"begun")
            await two.until(b"begun")
            refused = await get("/jobs/export", key)
            assert (refused.status, refused.json()["code"]) == (429, "too_many_exports")
            async with asked("/jobs/export", others) as (other, _):
                await other.until(b"begun")
        async with asked("/jobs/export", key) as (another, _):
            await another.until(b"begun")
            assert another.status == 200
        assert all([await asyncio.to_thread(ended.acquire, timeout=60) for _ in range(4)])

    asyncio.run(read_and_leave())
