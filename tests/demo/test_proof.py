"""The proof's verdict notices what it is there to notice."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo import ledger, proof
from jobs.models import Job, LaneMinute, Tenant
from jobs.services import submit_many
from jobs.statuses import Status
from jobs.submission import NewJob

pytestmark = pytest.mark.django_db


@pytest.fixture
def ended(alice: Tenant, settings: Any, tmp_path: Path) -> list[uuid.UUID]:
    """1,000 jobs that ended as constructed, each run once; answers their ids."""
    settings.VAR_DIR = tmp_path
    ledger.ledger().mkdir()
    ids = [s.job_id for s in submit_many(alice, [NewJob(task="echo")] * proof.SUBMITTED)]
    set_status(ids[: proof.DONE], Status.DONE)
    set_status(ids[proof.DONE :], Status.DLQ)
    LaneMinute.objects.create(
        lane_id=1, tenant_id=alice.pk, minute="2030-01-01T00:00Z", done=900, dead=100
    )
    (ledger.ledger() / "1").write_text("".join(f"{job_id} 1\n" for job_id in ids))
    return ids


def set_status(ids: list[uuid.UUID], status: Status) -> None:
    """As if jobs had ended so."""
    Job.objects.filter(pk__in=ids).update(status=status)


def test_all_well(ended: list[uuid.UUID]) -> None:
    verdict = proof.judge()
    assert str(verdict) == "submitted 1000 · done 900 · dead 100 · lost 0 · doubled 0"
    assert verdict.is_as_constructed


def still_running(ids: list[uuid.UUID]) -> None:
    """One job never ended."""
    set_status(ids[:1], Status.RUNNING)


def vanished(ids: list[uuid.UUID]) -> None:
    """One job is gone."""
    Job.objects.filter(pk=ids[0]).delete()


@pytest.mark.parametrize("damage", [still_running, vanished])
def test_lost_job_is_noticed(
    ended: list[uuid.UUID], damage: Callable[[list[uuid.UUID]], None]
) -> None:
    damage(ended)
    assert proof.judge().lost == 1
    assert not proof.judge().is_as_constructed


def test_second_run_of_an_attempt_is_noticed(ended: list[uuid.UUID]) -> None:
    (ledger.ledger() / "2").write_text(f"{ended[0]} 1\n")
    assert proof.judge().doubled == 1


def test_second_outcome_is_noticed(ended: list[uuid.UUID]) -> None:
    LaneMinute.objects.update(done=901)
    assert proof.judge().doubled == 1


def test_wrong_end_is_noticed(ended: list[uuid.UUID]) -> None:
    set_status(ended[-1:], Status.DONE)
    assert (proof.judge().lost, proof.judge().doubled) == (0, 0)
    assert not proof.judge().is_as_constructed


def test_kinds_of_jobs_add_up(alice: Tenant) -> None:
    proof.submit_all([alice])
    tasks = Job.objects.values_list("task", flat=True)
    dead = [task for task in tasks if task.endswith((".fail_always", ".give_up"))]
    assert (len(tasks), len(dead)) == (proof.SUBMITTED, proof.DEAD)
