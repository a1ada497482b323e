"""The purger: one of them at a time goes through everything, step by step."""

import logging
from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.test import override_settings

from jobs import retention, store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.harness import running_workers, wait_until
from tests.store.steps import age, job_in
from workers import purger
from workers.purger import CHORE, Purger

INTERVAL = 300


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """New purgers begin at once."""
    monkeypatch.setattr(purger, "FIRST_WITHIN_SECONDS", 0)


def a_pass(one: Purger) -> int:
    """Tick to the end of a pass; answers in how many steps."""
    steps = 0
    while one.tick() != INTERVAL:
        steps += 1
    return steps


@pytest.mark.django_db(transaction=True)
def test_workers_purge_by_themselves(alice: Tenant) -> None:
    old = age([job_in(Status.DONE, alice) for _ in range(5)], days=8)
    kept = {job_in(Status.DONE, alice), *age([job_in(Status.DLQ, alice)], days=8)}
    with running_workers(purge_interval_seconds=0.5, purge_batch=2):
        gone = Job.objects.filter(pk__in=old)
        wait_until(lambda: not gone.exists(), 60, "the old jobs are deleted")
    assert set(Job.objects.values_list("pk", flat=True)) == kept


def test_processes_that_start_together_do_not_begin_together() -> None:
    assert len({Purger("w").tick() for _ in range(5)}) == 5


@pytest.mark.django_db
def test_one_has_the_turn_and_the_others_wait(at_once: None, alice: Tenant) -> None:
    first, second = Purger("w1"), Purger("w2")
    assert first.tick() < INTERVAL
    assert second.tick() == INTERVAL
    assert a_pass(first) > 0
    assert first.tick() == INTERVAL, "after a pass, nobody begins another at once"


@pytest.mark.django_db
def test_turn_is_kept_as_long_as_a_pass_takes(
    at_once: None, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Purger("w1")
    slow.tick()
    store.keep_turn(CHORE, -1)  # the turn is over
    monkeypatch.setattr(slow, "_keep_at", 0.0)
    slow.tick()
    assert not store.take_turn(CHORE, INTERVAL)


@pytest.mark.django_db
def test_pass_that_an_error_broke_off_begins_anew_at_the_next_turn(
    at_once: None, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[int]:
        yield 0
        raise OperationalError("away")

    monkeypatch.setattr(retention, "one_pass", broken)
    one = Purger("w1")
    one.tick()
    with pytest.raises(OperationalError):
        one.tick()
    assert one.tick() == INTERVAL
    monkeypatch.undo()
    age([job_in(Status.DONE, alice)], days=8)
    store.keep_turn(CHORE, -1)
    a_pass(one)
    assert not Job.objects.exists()


@pytest.mark.django_db
@override_settings(JOBQUEUE={"purge_batch": 2})
def test_how_many_went_is_logged(
    at_once: None, alice: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    age([job_in(Status.DONE, alice) for _ in range(3)], days=8)
    with caplog.at_level(logging.INFO, logger="workers.purger"):
        a_pass(Purger("w1"))
    (record,) = caplog.records
    assert (record.getMessage(), record.count) == ("purged", 3)  # type: ignore[attr-defined]
