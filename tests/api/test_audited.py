"""Whatever a person or a key changes over REST is in the audit log, with what it has to tell.

The table is compared with the addresses of the API: a call that changes something and is not in it
fails.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from jobs.keys import create_api_key
from jobs.models import Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller
from tests.api.test_isolation import routes
from tests.audit_log import TOLD, actions, last_entry, new_entry
from tests.factories import make_job

pytestmark = pytest.mark.django_db

Prepare = Callable[[Caller, Tenant], tuple[str, Any]]
"""Makes what a call is about; answers its path and its body."""


def of_job(path: str, status: Status) -> Prepare:
    return lambda _, tenant: (path.format(make_job(tenant, status).pk), None)


def of_queue(path: str, body: Any = None) -> Prepare:
    def prepare(_: Caller, tenant: Tenant) -> tuple[str, Any]:
        make_job(tenant, queue="mail")
        return path, body

    return prepare


def of_key(path: str) -> Prepare:
    return lambda _, tenant: (path.format(create_api_key(tenant, actor="t")[0].prefix), None)


def of_dead_letters(_: Caller, tenant: Tenant) -> tuple[str, Any]:
    return "/dlq/redrive", {"ids": [str(make_job(tenant, Status.DLQ).pk) for _ in range(2)]}


def of_operation(api: Caller, _: Tenant) -> tuple[str, Any]:
    begun = api.post("/operations", {"action": "cancel", "filter": "queue:mail"}).json()
    return f"/operations/{begun['id']}/cancel", None


def of_limit(api: Caller, _: Tenant) -> tuple[str, Any]:
    api.call("PUT", "/task-limits/echo", {"max_running": 2})
    return "/task-limits/echo", None


def plain(path: str, body: Any) -> Prepare:
    return lambda *_: (path, body)


DEEDS: Mapping[tuple[str, str], tuple[str, Prepare]] = {
    ("api-cancel", "POST"): ("cancel", of_job("/jobs/{}/cancel", Status.PENDING)),
    ("api-retry", "POST"): ("retry", of_job("/jobs/{}/retry", Status.DLQ)),
    ("api-dead-letter", "DELETE"): ("discard", of_job("/dlq/{}", Status.DLQ)),
    ("api-redrive", "POST"): ("redrive", of_dead_letters),
    ("api-operations", "POST"): (
        "start_operation",
        plain("/operations", {"action": "discard", "filter": "queue:mail"}),
    ),
    ("api-cancel-operation", "POST"): ("cancel_operation", of_operation),
    ("api-pause", "POST"): ("pause", of_queue("/queues/mail/pause", {"reason": "down"})),
    ("api-resume", "POST"): ("resume", of_queue("/queues/mail/resume")),
    ("api-queue", "PATCH"): ("change_limits", of_queue("/queues/mail", {"weight": 2})),
    ("api-tenant", "PATCH"): ("change_limits", plain("/tenant", {"max_running": 1})),
    ("api-task-limit", "PUT"): ("limit_task", plain("/task-limits/echo", {"max_running": 1})),
    ("api-task-limit", "DELETE"): ("unlimit_task", of_limit),
    ("api-keys", "POST"): ("create_api_key", plain("/keys", {"scopes": ["read"]})),
    ("api-key", "DELETE"): ("revoke_api_key", of_key("/keys/{}")),
    ("api-rotate-key", "POST"): ("rotate_api_key", of_key("/keys/{}/rotate")),
}
BY_PROGRAMS = {
    (name, "POST")
    for name in (
        *("api-jobs", "api-bulk", "api-lease"),
        *("api-heartbeat", "api-ack", "api-fail", "api-log", "api-release"),
    )
}
"""What programs do all day long: submit jobs, and run them."""


def test_every_call_that_changes_something_is_in_the_table() -> None:
    views = [(one.name, getattr(one.callback, "cls", None)) for one in routes()]
    calls = {(name, method) for name, view in views for method in getattr(view, "scopes", ())}
    assert {call for call in calls if call[1] != "GET"} == DEEDS.keys() | BY_PROGRAMS


@pytest.mark.parametrize("call", DEEDS, ids=" ".join)
def test_it_is_written_down(api: Caller, alice: Tenant, call: tuple[str, str]) -> None:
    action, prepare = DEEDS[call]
    path, body = prepare(api, alice)
    last = last_entry()
    answer = api.call(call[1], f"/api/v1{path}", body)
    assert answer.status_code < 300, answer.content
    key = api.get("/keys?limit=200").json()["results"]
    (own,) = [one["id"] for one in key if one["is_own"]]
    entry = new_entry(action, actor=f"key:{own}", address="127.0.0.1", after=last)
    assert entry.tenant_id == alice.pk


def test_all_actions_have_to_tell_something() -> None:
    assert TOLD.keys() == actions()
