"""A job's story has no gaps, no negative times and an honest end."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from dashboard.timeline import Phase, bars, phases
from jobs import store
from jobs.models import Tenant
from jobs.statuses import Status
from tests.factories import make_job

START = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Subject:
    status: str
    attempt: int = 0
    fence: int = 0
    created_at: datetime = START
    run_at: datetime = START
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass
class Run:
    number: int
    started_at: datetime | None
    finished_at: datetime
    outcome: str = "failed"
    fence: int = 0


def told(story: list[Phase]) -> list[tuple[str, float]]:
    return [(phase.status.value, phase.seconds) for phase in story]


def test_done_at_the_first_attempt() -> None:
    job = Subject("DONE", 1, started_at=at(2), finished_at=at(5))

    assert told(phases(job, [], at(100))) == [("PENDING", 2), ("DONE", 3)]


def test_scheduled_and_then_run() -> None:
    job = Subject("RUNNING", 1, run_at=at(10), started_at=at(12))

    assert told(phases(job, [], at(15))) == [("SCHEDULED", 10), ("PENDING", 2), ("RUNNING", 3)]


@pytest.mark.parametrize("status", ["PENDING", "SCHEDULED", "BLOCKED"])
def test_a_job_that_waits_has_an_open_end(status: str) -> None:
    (phase,) = phases(Subject(status), [], at(7))

    assert (phase.status, phase.seconds, phase.is_open) == (Status(status), 7, True)


def test_failed_attempts_and_the_waits_between_them() -> None:
    job = Subject("FAILED", 2, started_at=at(14), run_at=at(40))
    attempts = [Run(1, at(1), at(4)), Run(2, at(14), at(15))]

    assert told(phases(job, attempts, at(20))) == [
        ("PENDING", 1),
        ("FAILED", 3),
        ("PENDING", 10),
        ("FAILED", 1),
        ("FAILED", 5),
    ]


def test_an_attempt_is_told_once() -> None:
    job = Subject("DLQ", 1, started_at=at(1), finished_at=at(4))

    assert told(phases(job, [Run(1, at(1), at(4))], at(20))) == [("PENDING", 1), ("FAILED", 3)]


def labels(story: list[Phase]) -> list[tuple[str, float]]:
    return [(phase.label, phase.seconds) for phase in story]


def test_a_redriven_job_was_dead_and_begins_a_new_round() -> None:
    deaths = [Run(1, at(1), at(2)), Run(1, at(20), at(21))]
    job = Subject("RUNNING", 1, run_at=at(50), started_at=at(53))

    assert labels(phases(job, deaths, at(60))) == [
        ("Waited", 1),
        ("Attempt 1", 1),
        ("Dead until the redrive", 18),
        ("Attempt 1 of round 2", 1),
        ("Dead until the redrive", 29),
        ("Waited", 3),
        ("Attempt 1 of round 3", 7),
    ]


@pytest.mark.parametrize(
    ("status", "finished_at", "last"),
    [("PENDING", None, ("Waiting", 10)), ("CANCELLED", at(55), ("Waited, then cancelled", 5))],
)
def test_a_redriven_job_that_waits(
    status: str, finished_at: datetime | None, last: tuple[str, float]
) -> None:
    job = Subject(status, 0, run_at=at(50), finished_at=finished_at)

    told = labels(phases(job, [Run(1, at(1), at(2))], at(60)))

    assert told[2:] == [("Dead until the redrive", 48), last]


def test_an_attempt_that_ends_while_it_is_read_is_no_redrive() -> None:
    job = Subject("RUNNING", 1, started_at=at(1))

    assert "Dead until the redrive" not in dict(labels(phases(job, [Run(1, at(1), at(4))], at(5))))


def test_cancelled_before_it_ran() -> None:
    job = Subject("CANCELLED", finished_at=at(6))

    assert told(phases(job, [], at(20))) == [("CANCELLED", 6)]


def test_clocks_that_disagree_make_no_negative_time() -> None:
    job = Subject("DONE", 1, started_at=at(-1), finished_at=at(-2))

    assert all(phase.seconds >= 0 for phase in phases(job, [], at(0)))


def test_bars_fill_the_strip_and_each_can_be_seen() -> None:
    job = Subject("DONE", 1, started_at=at(0.001), finished_at=at(1_000))
    placed = bars(phases(job, [], at(2_000)))

    assert sum(bar.width for bar in placed) == pytest.approx(100, abs=0.1)
    assert min(bar.width for bar in placed) > 1
    assert placed[1].x == placed[0].width


def test_a_run_that_was_given_back_is_not_called_a_wait() -> None:
    attempts = [Run(1, at(5), at(6), fence=2), Run(2, at(7), at(8), fence=3)]
    job = Subject("DONE", 3, fence=5, started_at=at(30), finished_at=at(31))

    assert [label for label, _ in labels(phases(job, attempts, at(40)))] == [
        "Waited or ran before it was given back",
        "Attempt 1",
        "Until the retry",
        "Attempt 2",
        "Waited or ran before it was given back",
        "Attempt 3",
    ]


@pytest.mark.django_db
def test_the_page_of_a_released_job_claims_no_mere_wait(ann: Client, alice: Tenant) -> None:
    job = make_job(alice, Status.RUNNING)
    fresh = make_job(alice, queue="other")
    assert store.release([store.Lease(job.pk, job.fence)]) == {job.pk}

    page = ann.get(reverse("job", args=[job.pk])).text

    assert "Waits, or ran before it was given back" in page
    assert "given back" not in ann.get(reverse("job", args=[fresh.pk])).text
