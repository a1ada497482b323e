"""What a draining process does with jobs that do not end in time, in process."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from jobs import store
from jobs.models import Tenant
from jobs.registry import find
from jobs.statuses import Status
from tests.store.steps import claim_one, row
from workers import process as module
from workers.held import HeldJob, Stop
from workers.ledger import Ledger
from workers.process import Options, WorkerProcess

pytestmark = pytest.mark.django_db


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """One that has no time to drain, and whose threads were never started."""
    monkeypatch.setattr(module, "connections", SimpleNamespace(close_all=lambda: None))
    options = Options(concurrency=1, queues=frozenset(), tags=frozenset(), drain_seconds=0)
    ledger = Ledger(1)
    made = WorkerProcess("w", options, ledger, os.getpid())
    monkeypatch.setattr(made._claimer, "stop", lambda timeout: True)
    made._roles = []
    yield made
    ledger.close()


@pytest.fixture
def running(alice: Tenant, process: WorkerProcess) -> HeldJob:
    held = HeldJob(claim_one(alice), find("echo"), time.monotonic())
    assert held.begin()
    process._held.add([held])
    return held


def test_what_does_not_end_in_time_is_stopped_and_given_back(
    process: WorkerProcess, running: HeldJob
) -> None:
    process._drain()
    assert running.stop_reason is Stop.DRAIN
    assert (row(running.job.id)["status"], row(running.job.id)["attempt"]) == (Status.PENDING, 0)
    assert not process._retired


def test_what_cannot_be_given_back_is_left_to_the_supervisor(
    process: WorkerProcess, running: HeldJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(leases: object) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(store, "release", refuse)
    process._drain()
    assert running.stop_reason is Stop.DRAIN
    assert process._retired, "its exit status tells that its jobs are to be settled"


def test_what_was_being_claimed_goes_back_unspent(
    alice: Tenant, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = HeldJob(claim_one(alice), find("echo"), time.monotonic())
    give_back = process._give_back

    def give_back_before_it_comes(held: list[HeldJob]) -> None:
        give_back(held)
        if not late.is_withdrawn:
            process._held.add([late])

    monkeypatch.setattr(process, "_give_back", give_back_before_it_comes)
    monkeypatch.setattr(process, "_options", replace(process._options, drain_seconds=60))
    process._drain()
    assert (row(late.job.id)["status"], row(late.job.id)["attempt"]) == (Status.PENDING, 0)
    assert late.stop_reason is None, "nobody waited for it"


def test_what_has_ended_is_not_given_back_but_recorded(
    process: WorkerProcess, running: HeldJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_SECONDS", 0.01)
    running.uninterruptible()
    process._drain()
    assert row(running.job.id)["status"] == Status.RUNNING
    assert process._retired, "its finisher was too slow: the supervisor settles it"
