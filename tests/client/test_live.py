"""A real server and real workers: submitted, waited for, and the result is there."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from jobqueue_client import AsyncClient, Client, WaitTimeout
from jobqueue_client.__main__ import main
from jobs.models import Tenant
from tests.harness import running_workers

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60


@pytest.fixture
def place(server: str, alice: Tenant, key_of: Callable[..., str]) -> tuple[str, str]:
    """The server's address, and a key of Alice."""
    return server, key_of(alice)


def test_submit_wait_result(
    live: Client, place: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    url, key = place
    with running_workers():
        job = live.submit("sum_to", {"n": 100})
        assert live.result(job, PATIENCE) == live.get(job).result
        assert live.wait(live.submit("fail", {"times": 9}, max_retries=0), PATIENCE).status == "DLQ"
        arguments = ("submit", "echo", "--payload", '{"a": 1}', "--wait", str(PATIENCE))
        assert main([*arguments, "--url", url, "--key", key]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": 1}


class Recording(httpx.HTTPTransport):
    """A network that remembers what was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[httpx.Response] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.answers.append(response)
        return response


def test_the_queue_holds_the_answer_of_a_wait(place: tuple[str, str]) -> None:
    network = Recording()
    with Client(*place, timeout_seconds=PATIENCE, transport=network) as client:
        job = client.submit(delay_seconds=600)
        with pytest.raises(WaitTimeout):
            client.wait(job, 2.5)
    assert network.answers[1].headers["Preference-Applied"] == "wait=2"


async def test_the_same_with_asyncio(place: tuple[str, str]) -> None:
    async with AsyncClient(*place) as client:
        jobs = await asyncio.gather(*(client.submit("echo", n) for n in range(3)))
        assert {job.id async for job in client.list()} == {job.id for job in jobs}
        with pytest.raises(TimeoutError):
            await client.wait(jobs[0], 0.1)
        assert (await client.cancel(jobs[0])).status == "CANCELLED"
        assert (await client.wait(jobs[0], PATIENCE)).status == "CANCELLED"
        assert [queue.name for queue in await client.queues()] == ["default"]
