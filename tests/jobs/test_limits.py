"""Changes of limits: on record, refused where impossible, and in force at the next claim."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from jobs import services, store, wakeup
from jobs.errors import InvalidInput
from jobs.models import AuditEntry, Job, Lane, StartClock, TaskLimit, Tenant
from jobs.submission import NewJob
from tests.store.steps import database_time

pytestmark = pytest.mark.django_db
ACTOR = "user:olga"


def submitted(tenant: Tenant, count: int) -> Lane:
    """The lane of so many new jobs."""
    services.submit_many(tenant, [NewJob(task="echo")] * count)
    return Lane.objects.get(tenant=tenant)


def claimed(*lanes: Lane) -> int:
    """How many jobs a worker gets."""
    shares = [store.Share(lane.pk, 10) for lane in lanes]
    return len(store.claim("w", shares, lease_seconds=30))


def limits_set(tenant: Tenant, scope: str, **limits: Any) -> None:
    """Limit the tenant, its lane, or the task for it or for all."""
    match scope:
        case "tenant":
            services.change_limits(tenant, actor=ACTOR, **limits)
        case "lane":
            services.change_limits(tenant.lanes.get(), actor=ACTOR, **limits)
        case _:
            owner = tenant if scope == "task" else None
            services.set_task_limit(owner, "echo", actor=ACTOR, **limits)


SCOPES = ("tenant", "lane", "task", "shared task")


@pytest.mark.parametrize("scope", SCOPES)
def test_a_limit_holds_at_the_next_claim_and_so_does_its_change(alice: Tenant, scope: str) -> None:
    lane = submitted(alice, 9)
    limits_set(alice, scope, max_running=1)
    assert [claimed(lane), claimed(lane)] == [1, 0]
    limits_set(alice, scope, max_running=3)
    assert claimed(lane) == 2


@pytest.mark.parametrize("scope", SCOPES)
def test_a_faster_pace_holds_at_once_and_forgives_no_start(alice: Tenant, scope: str) -> None:
    lane = submitted(alice, 20)
    limits_set(alice, scope, starts_per_minute=1, start_burst=4)
    assert claimed(lane) == 4
    limits_set(alice, scope, starts_per_minute=1, start_burst=6)
    assert claimed(lane) == 2
    limits_set(alice, scope, starts_per_minute=1, start_burst=3)
    assert claimed(lane) == 0
    limits_set(alice, scope, starts_per_minute=60_000, start_burst=3)
    (clock,) = StartClock.objects.all()
    assert _ahead(clock) <= 3 * 60 / 60_000 + 0.001


@pytest.mark.parametrize("scope", SCOPES)
def test_a_pace_that_was_lifted_begins_anew(alice: Tenant, scope: str) -> None:
    lane = submitted(alice, 9)
    limits_set(alice, scope, starts_per_minute=1)
    assert [claimed(lane), claimed(lane)] == [1, 0]
    limits_set(alice, scope, starts_per_minute=None, max_running=3)
    assert not StartClock.objects.exists()
    assert claimed(lane) == 2


def test_a_task_is_limited_for_one_tenant_or_for_all(alice: Tenant, mallory: Tenant) -> None:
    lanes = [submitted(tenant, 4) for tenant in (alice, mallory)]
    limits_set(alice, "task", max_running=1)
    assert claimed(*lanes) == 5
    limits_set(alice, "shared task", max_running=6)
    services.remove_task_limit(alice, "echo", actor=ACTOR)
    assert [claimed(*lanes), claimed(*lanes)] == [1, 0]


def test_a_limit_of_a_task_is_on_record_and_wakes_the_workers(
    alice: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    woken: list[bool] = []
    monkeypatch.setattr(wakeup, "signal", lambda: woken.append(True))
    with django_capture_on_commit_callbacks(execute=True):
        services.set_task_limit(alice, "echo", actor=ACTOR, max_running=2)
        services.set_task_limit(alice, "echo", actor=ACTOR, max_running=3)
        assert services.remove_task_limit(alice, "echo", actor=ACTOR)
        assert not services.remove_task_limit(alice, "echo", actor=ACTOR)
    assert woken == [True] * 3
    first, second, third = AuditEntry.objects.order_by("pk")
    assert {(x.actor, x.tenant, x.target) for x in (first, second, third)} == {
        (ACTOR, alice, "echo")
    }
    assert (first.action, first.details["before"]) == ("limit_task", None)
    assert second.details["before"]["max_running"] == 2
    assert second.details["after"]["max_running"] == 3
    assert third.action == "unlimit_task"


def test_the_clock_goes_with_its_limit(alice: Tenant) -> None:
    lane = submitted(alice, 2)
    limits_set(alice, "task", starts_per_minute=1)
    assert claimed(lane) == 1
    services.remove_task_limit(alice, "echo", actor=ACTOR)
    assert not StartClock.objects.exists()


def test_the_clocks_of_a_tenant_go_with_it(alice: Tenant, mallory: Tenant) -> None:
    lanes = [submitted(tenant, 1) for tenant in (alice, mallory)]
    for scope in ("tenant", "lane", "task"):
        limits_set(alice, scope, starts_per_minute=1)
    limits_set(mallory, "tenant", starts_per_minute=1)
    assert claimed(*lanes) == 2
    assert StartClock.objects.count() == 4
    Job.objects.filter(tenant=alice).delete()
    services.change_limits(alice, actor=ACTOR, is_active=False)
    services.delete_tenant(alice, actor=ACTOR)
    assert StartClock.objects.get().holder == f"T{mallory.pk}"


@pytest.mark.parametrize(
    "limits",
    [
        {"max_running": -1},
        {"starts_per_minute": 0},
        {"max_running": 1, "start_burst": 0},
        {"max_running": 2**70},
    ],
    ids=str,
)
@pytest.mark.parametrize("scope", SCOPES)
def test_impossible_limits_are_refused(alice: Tenant, scope: str, limits: dict[str, int]) -> None:
    submitted(alice, 1)
    with pytest.raises(ValidationError):
        limits_set(alice, scope, **limits)
    assert not AuditEntry.objects.exists()
    assert not TaskLimit.objects.exists()


def test_a_task_limit_limits_something_and_names_a_task(alice: Tenant) -> None:
    with pytest.raises(InvalidInput, match="max_running or starts_per_minute"):
        services.set_task_limit(alice, "echo", actor=ACTOR, start_burst=5)
    with pytest.raises(ValidationError):
        services.set_task_limit(alice, "no name", actor=ACTOR, max_running=5)
    assert not TaskLimit.objects.exists()


def test_there_is_one_limit_of_a_task_for_all(alice: Tenant) -> None:
    for most in (1, 2):
        services.set_task_limit(None, "echo", actor=ACTOR, max_running=most)
    assert TaskLimit.objects.get().max_running == 2
    with transaction.atomic(), pytest.raises(IntegrityError):
        TaskLimit.objects.create(task="echo")


def _ahead(clock: StartClock) -> float:
    """Seconds by which the clock is ahead of the database's."""
    return clock.paid_off_at - database_time().timestamp()
