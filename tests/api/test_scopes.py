"""What a scope may not read, no answer tells: every operation is called with every key."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs import services, store
from jobs.keys import Scope
from jobs.models import Job, Lane, Tenant
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.api.conftest import Caller
from tests.api.test_schema import operations
from tests.api.test_schema import schema as schema
from tests.factories import make_job

pytestmark = pytest.mark.django_db

PAYLOAD, RESULT, ERROR = "canary-of-payload", "canary-of-result", "canary-of-error"
CANARIES = {PAYLOAD, RESULT, ERROR}
LEFT = {"result": f'"{RESULT}"'.encode()}
FAILED = {"error_type": ERROR, "error_message": ERROR, "traceback": ERROR}
SEEN_BY: dict[Scope, dict[str, set[str]]] = {
    Scope.SUBMIT: {},
    Scope.WORK: {"lease_jobs": {PAYLOAD}},
}
"""What those keys are told that may not read, by operation."""


@pytest.fixture
def jobs(alice: Tenant) -> list[Job]:
    """A job in each status, each carrying what it can."""
    payload = {"payload": f'"{PAYLOAD}"'.encode()}
    ends: dict[Status, dict[str, Any]] = {
        Status.DONE: LEFT,
        Status.FAILED: FAILED,
        Status.DLQ: FAILED,
        Status.CANCELLED: {},
        Status.SCHEDULED: {},
        Status.RUNNING: {},
        Status.PENDING: {},
    }
    return [
        make_job(alice, status, queue=f"q-{status.lower()}", task="remote:x", **payload, **end)
        for status, end in ends.items()
    ]


def addresses(path: str, jobs: list[Job]) -> list[str]:
    """The address of an operation, for each of the jobs if it is one of a job."""
    others = {"{queue}": "q-pending", "{task}": "remote:x"}
    for part, name in others.items():
        path = path.replace(part, name)
    return [path.replace("{job_id}", str(job.pk)) for job in jobs] if "{" in path else [path]


@pytest.mark.parametrize("scope", SEEN_BY)
def test_no_answer_tells_what_the_key_may_not_read(
    alice: Tenant,
    jobs: list[Job],
    schema: dict[str, Any],
    caller_of: Callable[..., Caller],
    scope: Scope,
) -> None:
    caller = caller_of(alice, scope)
    for one in operations(schema):
        body = one.request["example"] if one.request else None
        body = {} if one.described["operationId"] == "lease_jobs" else body
        told = set[str]()
        for address in addresses(one.path, jobs):
            answer = caller.call(one.method.upper(), address, body)
            whole = b"".join(answer) if answer.streaming else answer.content
            told |= {canary for canary in CANARIES if canary in whole.decode()}
        assert told == SEEN_BY[scope].get(one.described["operationId"], set()), one.path


def test_a_key_that_only_submits_learns_that_it_cancelled(
    alice: Tenant, jobs: list[Job], caller_of: Callable[..., Caller]
) -> None:
    caller = caller_of(alice, Scope.SUBMIT)
    pending, failed = (
        next(x for x in jobs if x.status == status) for status in (Status.PENDING, Status.FAILED)
    )
    for address, status in (
        (f"/jobs/{pending.pk}/cancel", "CANCELLED"),
        (f"/jobs/{failed.pk}/retry", "PENDING"),
    ):
        job = caller.post(address).json()
        assert (job["status"], job["unreadable"]) == (status, "insufficient_scope")
        assert (job["payload"], job["result"], job["error"]) == (None, None, None)


def test_a_key_that_reads_is_told_all(
    alice: Tenant, jobs: list[Job], caller_of: Callable[..., Caller]
) -> None:
    caller = caller_of(alice, Scope.SUBMIT, Scope.READ)
    failed = next(x for x in jobs if x.status == Status.FAILED)
    job = caller.post(f"/jobs/{failed.pk}/retry").json()
    assert (job["payload"], job["error"]["message"], job["unreadable"]) == (PAYLOAD, ERROR, None)


def test_a_repeated_submission_does_not_tell_what_came_of_it(
    alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    caller = caller_of(alice, Scope.SUBMIT)
    request = {"task": "remote:x", "payload": PAYLOAD, "idempotency_key": "k"}
    made = caller.submit(**request)
    assert (made["payload"], made["unreadable"]) == (PAYLOAD, None)
    lane = Lane.objects.get(tenant=alice)
    (claimed,) = store.claim("w", [store.Share(lane.pk, 1)], lease_seconds=30)
    done = {"lane_id": lane.pk, "tenant_id": alice.pk, "status": Status.DONE, **LEFT}
    store.finish("w", [store.Outcome(job_id=claimed.id, fence=claimed.fence, **done)])
    again = caller.post("/jobs", request)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (
        200,
        made["id"],
        "DONE",
    )
    assert RESULT not in again.content.decode()
    assert again.json()["unreadable"] == "insufficient_scope"


def test_a_submission_with_tags_does_not_tell_what_came_of_it_meanwhile(
    alice: Tenant, caller_of: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = services.submit

    def submit_and_run(tenant: Tenant, new: NewJob, **options: Any) -> Any:
        submitted = submit(tenant, new, **options)
        lane = Lane.objects.get(tenant=tenant)
        (claimed,) = store.claim("w", [store.Share(lane.pk, 1)], lease_seconds=30)
        done = {"lane_id": lane.pk, "tenant_id": tenant.pk, "status": Status.DONE, **LEFT}
        store.finish("w", [store.Outcome(job_id=claimed.id, fence=claimed.fence, **done)])
        return type(submitted)(submitted.job_id, created=True)

    monkeypatch.setattr(services, "submit", submit_and_run)
    request = {"task": "remote:x", "payload": PAYLOAD, "tags": ["t"]}
    answer = caller_of(alice, Scope.SUBMIT).post("/jobs", request)
    assert answer.status_code == 201
    assert json.loads(answer.content)["payload"] == PAYLOAD
    assert RESULT not in answer.content.decode()
