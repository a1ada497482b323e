"""`manage.py jobs logs`: what a job has logged, in a shell."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.management.commands import jobs as command
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.store import Lease, Logged, cancel, keep_log, release
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def make_log(job: Job, *messages: str, first: int = 1) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    told = {"job_id": job.pk, "fence": job.fence, "attempt": 1, "at": at, "level": 30}
    keep_log([Logged(number=n, message=text, **told) for n, text in enumerate(messages, first)])


def run(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("jobs", "logs", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_lines_are_printed_for_people_and_for_programs(alice: Tenant) -> None:
    job = make_job(alice, Status.RUNNING)
    make_log(job, "one", "two")
    assert run(str(job.pk)) == [
        "2030-01-01T00:00:00.000000Z  #1  WARNING   : one",
        "2030-01-01T00:00:00.000000Z  #1  WARNING   : two",
    ]
    assert [json.loads(line)["message"] for line in run(str(job.pk), "--json")] == ["one", "two"]
    assert run(str(job.pk), "--attempt", "2") == []


def test_followed_until_the_job_has_ended(alice: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(alice, Status.RUNNING)
    make_log(job, "one")

    def meanwhile(seconds: float) -> Any:
        make_log(job, "two", first=2)
        cancel([job.pk])
        release([Lease(job.pk, job.fence)])

    monkeypatch.setattr(command.time, "sleep", meanwhile)
    assert [line.rpartition(" ")[2] for line in run(str(job.pk), "--follow")] == ["one", "two"]


@pytest.mark.parametrize("number", ["-1", "0", "1.0", "x"])
def test_attempts_are_counted_from_one(alice: Tenant, number: str) -> None:
    job = make_job(alice, Status.RUNNING)
    with pytest.raises(CommandError, match="is no number from 1"):
        run(str(job.pk), f"--attempt={number}")


def test_an_unknown_job_is_not_found(db: None) -> None:
    with pytest.raises(CommandError) as caught:
        run("0197f3c2-5a7b-7c1e-9d3f-2b6a8e4c1d05")
    assert caught.value.returncode == 3
