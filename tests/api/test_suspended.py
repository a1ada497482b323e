"""What the keys of a tenant that is switched off may still do, as `docs/errors.md` has it."""

from typing import Any

import pytest

from jobs.models import Tenant
from jobs.services import change_limits
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.api.lease_steps import held, lease_one, told
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def switch_off(tenant: Tenant) -> None:
    change_limits(tenant, actor="command:test", is_active=False)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs", {}),
        ("/jobs/bulk", {"jobs": [{}]}),
        ("/leases", {"wait_seconds": 0}),
    ],
)
def test_it_begins_nothing(api: Caller, alice: Tenant, path: str, body: Any) -> None:
    switch_off(alice)
    problem(api.post(path, body), 403, "tenant_inactive")


def test_it_reads_everything(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, queue="mail")
    switch_off(alice)
    lists = ("jobs", "dlq", "queues", "operations", "keys", "audit", "task-limits")
    others = ("jobs/export", "usage", "tenant", "metrics", "queues/mail")
    of_job = (f"jobs/{job.pk}{what}" for what in ("", "/why", "/logs"))
    for path in (*lists, *others, *of_job):
        assert api.get(f"/{path}").status_code == 200, path


def test_it_acts_on_what_there_is(api: Caller, alice: Tenant) -> None:
    failed, dead, other, waiting = (
        make_job(alice, status)
        for status in (Status.FAILED, Status.DLQ, Status.DLQ, Status.PENDING)
    )
    switch_off(alice)
    for path, body, status in (
        (f"/jobs/{waiting.pk}/cancel", None, 200),
        (f"/jobs/{failed.pk}/retry", None, 200),
        ("/dlq/redrive", {"ids": [str(dead.pk)]}, 200),
        ("/operations", {"action": "cancel", "filter": "queue:default"}, 202),
        ("/queues/default/pause", None, 200),
        ("/queues/default/resume", None, 200),
        ("/keys", {"scopes": ["read"]}, 201),
    ):
        assert api.post(path, body).status_code == status, path
    assert api.call("DELETE", f"/dlq/{other.pk}").status_code == 204
    assert api.call("PUT", "/task-limits/echo", {"max_running": 1}).status_code == 200


def test_what_it_has_leased_it_ends(api: Caller, alice: Tenant) -> None:
    jobs = [lease_one(api) for _ in range(3)]
    switch_off(alice)
    assert told(api, "heartbeat", held(jobs[0])) == [None]
    assert told(api, "ack", held(jobs[0])) == [None]
    assert told(api, "fail", held(jobs[1], error={"type": "E", "message": "m"})) == [None]
    assert told(api, "release", held(jobs[2])) == [None]
