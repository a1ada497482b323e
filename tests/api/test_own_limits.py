"""A tenant's limits in its own hands: down as it likes, and up to what its operator has set."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs import services
from jobs.models import AuditEntry, Tenant
from tests.api.conftest import Caller, problem

pytestmark = pytest.mark.django_db

OPERATOR = "command:tenants"


@pytest.fixture
def limited(make_tenant: Callable[..., Tenant]) -> Tenant:
    """A tenant whose operator set some limits."""
    return make_tenant("limited", max_running=5, submissions_per_minute=100)


@pytest.fixture
def own(limited: Tenant, caller_of: Callable[..., Caller]) -> Caller:
    """Its own caller."""
    return caller_of(limited)


def test_a_tenant_sees_its_limits_and_how_far_they_go(own: Caller) -> None:
    seen = own.get("/tenant").json()
    assert (seen["slug"], seen["is_active"]) == ("limited", True)
    assert seen["limits"] == seen["ceilings"] | {"start_burst": 1}
    assert seen["limits"]["max_running"] == 5
    assert seen["limits"]["max_pending"] is None
    assert seen["ceilings"]["start_burst"] is None


def test_a_tenant_lowers_its_limit_and_raises_it_again(own: Caller, limited: Tenant) -> None:
    lowered = own.call("PATCH", "/tenant", {"max_running": 2, "max_pending": 10}).json()
    assert lowered["limits"]["max_running"] == 2
    assert lowered["ceilings"]["max_running"] == 5
    limited.refresh_from_db()
    assert (limited.max_running, limited.max_pending) == (2, 10)

    for above in (6, None):
        answer = problem(own.call("PATCH", "/tenant", {"max_running": above}), 403, "above_ceiling")
        assert answer["errors"][0]["pointer"] == "/max_running"
    raised = own.call("PATCH", "/tenant", {"max_running": 5, "max_pending": None}).json()
    assert raised["limits"]["max_running"] == 5
    assert raised["limits"]["max_pending"] is None


def test_an_operator_has_the_last_word(own: Caller, limited: Tenant) -> None:
    own.call("PATCH", "/tenant", {"max_running": 2})
    services.change_limits(limited, actor=OPERATOR, max_running=3)
    assert own.get("/tenant").json()["ceilings"]["max_running"] == 3
    problem(own.call("PATCH", "/tenant", {"max_running": 4}), 403, "above_ceiling")

    own.call("PATCH", "/tenant", {"max_running": 1})
    services.change_limits(limited, actor=OPERATOR, max_running=None)
    assert own.call("PATCH", "/tenant", {"max_running": 1_000}).status_code == 200


def test_a_pace_of_ones_own_may_have_any_burst(own: Caller, limited: Tenant) -> None:
    body = {"starts_per_minute": 60, "start_burst": 500}
    assert own.call("PATCH", "/tenant", body).status_code == 200
    services.change_limits(limited, actor=OPERATOR, starts_per_minute=600, start_burst=20)
    problem(own.call("PATCH", "/tenant", {"start_burst": 21}), 403, "above_ceiling")
    assert own.call("PATCH", "/tenant", {"start_burst": 2}).status_code == 200


def test_a_burst_of_ones_own_ends_with_a_pace_of_the_operator(own: Caller, limited: Tenant) -> None:
    body = {"starts_per_minute": 60, "start_burst": 1_000}
    assert own.call("PATCH", "/tenant", body).status_code == 200
    services.change_limits(limited, actor=OPERATOR, starts_per_minute=30)
    seen = own.get("/tenant").json()
    assert (seen["limits"]["starts_per_minute"], seen["limits"]["start_burst"]) == (30, 1)
    assert seen["ceilings"]["start_burst"] == 1
    problem(own.call("PATCH", "/tenant", {"start_burst": 2}), 403, "above_ceiling")


def test_a_burst_below_the_operators_stays_when_the_pace_changes(
    own: Caller, limited: Tenant
) -> None:
    services.change_limits(limited, actor=OPERATOR, starts_per_minute=60, start_burst=10)
    assert own.call("PATCH", "/tenant", {"start_burst": 2}).status_code == 200
    services.change_limits(limited, actor=OPERATOR, starts_per_minute=30)
    seen = own.get("/tenant").json()
    assert (seen["limits"]["start_burst"], seen["ceilings"]["start_burst"]) == (2, 10)


BAD_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({}, "malformed_json"),
    ({"weight": 100}, "unknown_field"),
    ({"is_active": False}, "unknown_field"),
    ({"max_running": 0}, "out_of_range"),
    ({"max_running": -1}, "out_of_range"),
    ({"max_running": 2**31}, "out_of_range"),
    ({"max_running": "5"}, "invalid_type"),
    ({"max_running": True}, "invalid_type"),
    ({"start_burst": None}, "invalid_type"),
]


@pytest.mark.parametrize(("body", "code"), BAD_CHANGES, ids=range(len(BAD_CHANGES)))
@pytest.mark.parametrize("path", ["/tenant", "/queues/default"])
def test_what_cannot_be_a_limit_is_refused(
    api: Caller, path: str, body: dict[str, Any], code: str
) -> None:
    api.submit()
    if path.startswith("/queues") and "weight" in body:
        code = "out_of_range"
        body = {"weight": 1_001}
    answer = problem(
        api.call("PATCH", path, raw=None if body else b"", body=body or None), 400, code
    )
    assert answer["detail"]
    assert not AuditEntry.objects.filter(action="change_limits").exists()


def test_a_queue_is_limited_by_its_tenant(api: Caller, alice: Tenant) -> None:
    api.submit(queue="mail")
    seen = api.call("PATCH", "/queues/mail", {"max_running": 2, "weight": 7}).json()
    assert (seen["max_running"], seen["weight"], seen["ceilings"]["max_running"]) == (2, 7, None)
    again = api.get("/queues/mail").json()
    assert again | {"oldest_waiting_seconds": seen["oldest_waiting_seconds"]} == seen
    lane = alice.lanes.get()
    assert (lane.max_running, lane.weight) == (2, 7)
    services.change_limits(lane, actor=OPERATOR, max_running=4)
    problem(api.call("PATCH", "/queues/mail", {"max_running": None}), 403, "above_ceiling")
    lifted = api.call("PATCH", "/queues/mail", {"max_running": 4, "weight": 1_000})
    assert lifted.json()["ceilings"]["max_running"] == 4
    problem(api.call("PATCH", "/queues/none", {"max_running": 1}), 404, "not_found")


def test_a_task_is_limited_by_its_tenant(api: Caller) -> None:
    made = api.call("PUT", "/task-limits/echo", {"max_running": 3}).json()
    assert made["limits"] == {"max_running": 3, "starts_per_minute": None, "start_burst": 1}
    assert api.get("/task-limits/echo").json() == made
    assert api.get("/task-limits").json() == {"results": [made], "next": None}
    paced = api.call("PUT", "/task-limits/echo", {"starts_per_minute": 60, "start_burst": 9})
    assert paced.json()["limits"]["max_running"] is None
    assert api.call("DELETE", "/task-limits/echo").status_code == 204
    problem(api.call("DELETE", "/task-limits/echo"), 404, "not_found")
    problem(api.get("/task-limits/echo"), 404, "not_found")
    problem(api.call("PUT", "/task-limits/echo", {"start_burst": 2}), 400, "invalid_input")
    actions = AuditEntry.objects.filter(actor__startswith="key:").values_list("action", flat=True)
    assert list(actions) == ["unlimit_task", "limit_task", "limit_task"]


def test_a_limit_that_the_operator_set_stays(api: Caller, alice: Tenant) -> None:
    services.set_task_limit(alice, "echo", actor=OPERATOR, max_running=3)
    problem(api.call("DELETE", "/task-limits/echo"), 403, "above_ceiling")
    problem(api.call("PUT", "/task-limits/echo", {"max_running": 4}), 403, "above_ceiling")
    problem(api.call("PUT", "/task-limits/echo", {"starts_per_minute": 4}), 403, "above_ceiling")
    assert api.call("PUT", "/task-limits/echo", {"max_running": 1}).status_code == 200
    raised = api.call("PUT", "/task-limits/echo", {"max_running": 3, "starts_per_minute": 5})
    assert raised.json()["ceilings"] == {
        "max_running": 3,
        "starts_per_minute": None,
        "start_burst": None,
    }


def test_another_tenants_task_limit_is_absent(api: Caller, stranger: Caller) -> None:
    api.call("PUT", "/task-limits/echo", {"max_running": 3})
    problem(stranger.get("/task-limits/echo"), 404, "not_found")
    problem(stranger.call("DELETE", "/task-limits/echo"), 404, "not_found")
    assert stranger.get("/task-limits").json()["results"] == []


def test_only_so_many_tasks_are_limited(api: Caller, settings: Any) -> None:
    settings.JOBQUEUE = {"max_task_limits_per_tenant": 1}
    api.call("PUT", "/task-limits/echo", {"max_running": 3})
    problem(api.call("PUT", "/task-limits/sleep", {"max_running": 3}), 409, "too_many_limits")
    assert api.call("PUT", "/task-limits/echo", {"max_running": 4}).status_code == 200


def test_a_change_is_written_down_with_what_was_before(own: Caller, limited: Tenant) -> None:
    own.call("PATCH", "/tenant", {"max_running": 2})
    entry = AuditEntry.objects.get(action="change_limits")
    assert (entry.tenant, entry.address) == (limited, "127.0.0.1")
    assert entry.actor.startswith("key:")
    assert entry.details == {"before": {"max_running": 5}, "after": {"max_running": 2}}


def test_only_an_admin_changes_limits(limited: Tenant, caller_of: Callable[..., Caller]) -> None:
    reader = caller_of(limited, "read", "submit", "work")
    assert reader.get("/tenant").status_code == 200
    for method, path in [
        ("PATCH", "/tenant"),
        ("PATCH", "/queues/default"),
        ("PUT", "/task-limits/echo"),
        ("DELETE", "/task-limits/echo"),
    ]:
        problem(reader.call(method, path, {"max_running": 1}), 403, "insufficient_scope")
