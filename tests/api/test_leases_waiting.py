"""Long polls: workers that wait cost next to nothing, and a job wakes who can run it."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from django.db import connection, connections

from jobs import services
from jobs.keys import create_api_key
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.harness import ProjectProcess, wait_until
from tests.live_server import live_server

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS, JOBS = 200, 20
FEW = 12
"""More than are in Django at once, and far less than workers that wait."""
PATIENCE_SECONDS = 60


class Poll:
    """One worker's request for jobs, on a connection of its own."""

    def __init__(self, address: str, key: str) -> None:
        self._where = address.removeprefix("http://").split(":")
        self._key = key
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, **wish: Any) -> asyncio.StreamReader:
        """Send the request; what is read is the answer."""
        host, port = self._where
        reader, self._writer = await asyncio.open_connection(host, int(port))
        body = json.dumps(wish).encode()
        head = (
            f"POST /api/v1/leases HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        return reader

    async def jobs(self, **wish: Any) -> list[dict[str, Any]]:
        """The jobs that are answered."""
        try:
            answer = await (await self.send(**wish)).read()
        finally:
            self.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), answer
        found: list[dict[str, Any]] = json.loads(body)["jobs"]
        return found

    async def jobs_in_the_end(self, **wish: Any) -> list[dict[str, Any]]:
        """The jobs, however often it takes to ask."""
        while True:
            if jobs := await self.jobs(wait_seconds=30, **wish):
                return jobs

    def close(self) -> None:
        """Go away."""
        if self._writer:
            self._writer.close()


@pytest.fixture
def server(transactional_db: None) -> Iterator[tuple[str, ProjectProcess]]:
    """An ASGI server: its address and its process."""
    with live_server() as running:
        yield running


@pytest.fixture
def key(alice: Tenant) -> str:
    return create_api_key(alice, scopes=("work",), actor="command:test")[1]


def on_loop(body: Callable[[], Any]) -> Any:
    """Run it on a loop."""
    return asyncio.run(asyncio.wait_for(body(), 2 * PATIENCE_SECONDS))


async def in_thread(ask: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What asks the database must not hold up the loop."""

    def asked() -> Any:
        try:
            return ask(*arguments, **options)
        finally:
            connections.close_all()

    return await asyncio.to_thread(asked)


async def workers_have_come(count: int) -> None:
    await in_thread(wait_until, lambda: Worker.objects.count() == count, PATIENCE_SECONDS)


def threads_and_connections(process: ProjectProcess) -> tuple[int, int]:
    """Of the server; on SQLite how often the file is open, which can be for a while after."""
    server = psutil.Process(process.pid)
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        return server.num_threads(), sum(one.path == name for one in server.open_files())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return server.num_threads(), int(cursor.fetchone()[0])


def test_a_job_that_comes_ends_the_wait_of_who_can_run_it(
    server: tuple[str, ProjectProcess], key: str, alice: Tenant
) -> None:
    async def body() -> list[dict[str, Any]]:
        able = asyncio.create_task(Poll(server[0], key).jobs(wait_seconds=30, tasks=["remote:x"]))
        await workers_have_come(1)
        other = asyncio.create_task(
            Poll(server[0], key).jobs(wait_seconds=3, tasks=["remote:y"], worker="other")
        )
        await in_thread(services.submit, alice, NewJob(task="remote:x"))
        assert await other == []
        return await able

    (job,) = on_loop(body)
    assert (job["task"], job["status"], job["attempt"]) == ("remote:x", "RUNNING", 1)


def test_whoever_has_left_gets_nothing(
    server: tuple[str, ProjectProcess], key: str, alice: Tenant
) -> None:
    async def body() -> list[dict[str, Any]]:
        leaving = Poll(server[0], key)
        await leaving.send(wait_seconds=30, worker="leaves")
        await workers_have_come(1)
        leaving.close()
        await in_thread(services.submit, alice, NewJob(task="remote:x"))
        return await Poll(server[0], key).jobs_in_the_end(worker="stays")

    (job,) = on_loop(body)
    assert (job["attempt"], job["worker"].rpartition("/")[2]) == (1, "stays")


def test_many_who_wait_hold_no_threads_and_no_connections(
    server: tuple[str, ProjectProcess], key: str, alice: Tenant
) -> None:
    def is_at_rest() -> bool:
        return max(threads_and_connections(server[1])) < FEW

    async def body() -> list[dict[str, Any]]:
        polls = [
            asyncio.create_task(Poll(server[0], key).jobs_in_the_end(worker=f"w{n}"))
            for n in range(WORKERS)
        ]
        await workers_have_come(WORKERS)
        await in_thread(wait_until, is_at_rest, PATIENCE_SECONDS, "the server is at rest")
        for _ in range(JOBS):
            await in_thread(services.submit, alice, NewJob(task="remote:x"))
        while len(done := [poll for poll in polls if poll.done()]) < JOBS:
            waiting = [poll for poll in polls if not poll.done()]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        return [job for poll in done for job in poll.result()]

    got = [job["id"] for job in on_loop(body)]
    assert len(got) == len(set(got)) == JOBS
    assert Job.objects.filter(status=Status.RUNNING, attempt=1).count() == JOBS
