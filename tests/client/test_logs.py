"""What a job has logged, by the client and its command."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jobqueue_client import AsyncClient, Client, operations
from jobqueue_client.__main__ import main
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import Lease, Logged, cancel, keep_log, release
from tests.factories import make_job

pytestmark = pytest.mark.django_db

AT = datetime(2030, 1, 1, tzinfo=UTC)


def make_log(job: Job, *messages: str, first: int = 1) -> None:
    told = {"job_id": job.pk, "fence": job.fence, "attempt": 1, "at": AT, "level": 30}
    keep_log([Logged(number=n, message=text, **told) for n, text in enumerate(messages, first)])


@pytest.fixture
def job(alice: Tenant) -> Job:
    return make_job(alice, Status.RUNNING)


def test_lines_come_page_after_page(client: Client, job: Job, monkeypatch: Any) -> None:
    monkeypatch.setattr(operations, "PAGE_SIZE", 2)
    make_log(job, *"abcde")
    lines = list(client.logs(str(job.pk)))
    assert "".join(line.message for line in lines) == "abcde"
    assert (lines[0].at, lines[0].level, lines[0].attempt, lines[0].number) == (AT, "warning", 1, 1)
    assert [line.message for line in client.logs(str(job.pk), after=lines[2].id)] == ["d", "e"]
    assert list(client.logs(str(job.pk), attempt=2)) == []


def test_a_job_is_followed_until_it_has_ended(client: Client, job: Job, monkeypatch: Any) -> None:
    def meanwhile(seconds: float) -> None:
        make_log(job, "two", first=2)
        cancel([job.pk])
        release([Lease(job.pk, job.fence)])

    monkeypatch.setattr("jobqueue_client.client.time.sleep", meanwhile)
    make_log(job, "one")
    assert [line.message for line in client.logs(str(job.pk), follow=True)] == ["one", "two"]


async def test_the_asynchronous_client_does_the_same() -> None:
    pages = {"": ["one", "two"], "1-2": []}

    def answer(request: httpx.Request) -> httpx.Response:
        told = {"attempt": 1, "at": "2030-01-01T00:00:00Z", "level": "info", "logger": ""}
        wanted = pages[request.url.params.get("after", "")]
        lines = [{"id": f"1-{n}", "number": n, "message": m} for n, m in enumerate(wanted, 1)]
        return httpx.Response(200, json={"results": [told | line for line in lines], "next": None})

    transport = httpx.MockTransport(answer)
    async with AsyncClient("http://queue.invalid", "jq_x", transport=transport) as client:
        assert [line.message async for line in client.logs("an id")] == ["one", "two"]


def test_the_command_prints_lines(
    alice: Tenant,
    job: Job,
    key_of: Callable[..., str],
    application_transport: httpx.BaseTransport,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_log(job, "one")
    place = ("--url", "http://testserver", "--key", key_of(alice))
    assert main(["logs", str(job.pk), *place], transport=application_transport) == 0
    assert capsys.readouterr().out == "2030-01-01T00:00:00.000000Z  #1  WARNING   : one\n"


@pytest.mark.parametrize("number", ["-1", "0", "1.0", "x"])
def test_the_command_counts_attempts_from_one(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["logs", "an-id", f"--attempt={number}", "--url", "http://queue.invalid"])
    assert ended.value.code == 2
    assert "is no positive number" in capsys.readouterr().err
