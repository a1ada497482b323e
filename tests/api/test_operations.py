"""Bulk actions over REST: begun, counted, watched, cancelled, and whose they are."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from jobs import operations
from jobs.keys import create_api_key
from jobs.models import AuditEntry, Job, Operation, Tenant
from jobs.statuses import OperationState, Status
from tests.api.conftest import Caller, problem
from tests.factories import WORKER, make_job

pytestmark = pytest.mark.django_db

REDRIVE = {"action": "redrive", "filter": "queue:mail"}


def accepted(response: Any) -> dict[str, Any]:
    """The operation that the answer holds, at the address that it names."""
    assert response.status_code == 202, response.content
    operation: dict[str, Any] = response.json()
    assert response["Location"] == f"/api/v1/operations/{operation['id']}"
    return operation


def run_all() -> None:
    while Operation.objects.filter(state=OperationState.RUNNING).exists():
        operations.step(WORKER)


def test_an_operation_is_begun_carried_out_and_looked_at(api: Caller, alice: Tenant) -> None:
    for _ in range(3):
        make_job(alice, Status.DLQ, queue="mail")
    make_job(alice, Status.DLQ)
    begun = accepted(api.post("/operations", REDRIVE))
    assert (begun["state"], begun["expected"], begun["done"]) == ("RUNNING", 3, 0)
    assert begun["expected_is_capped"] is False
    run_all()
    ended = api.get(f"/operations/{begun['id']}").json()
    assert ended["state"] == "DONE"
    assert (ended["matched"], ended["done"], ended["skipped"]) == (3, 3, 0)
    assert ended["finished_at"] > ended["created_at"]
    assert Job.objects.filter(status=Status.PENDING, queue="mail").count() == 3
    assert api.get("/operations").json() == {"results": [ended], "next": None}


def test_a_dry_run_counts_and_does_nothing(api: Caller, alice: Tenant) -> None:
    jobs = [make_job(alice, Status.DLQ, queue="mail") for _ in range(2)]
    response = api.post("/operations", {**REDRIVE, "dry_run": True})
    assert response.status_code == 200
    assert response.json() == {
        **REDRIVE,
        "count": 2,
        "count_is_capped": False,
        "sample": [str(job.pk) for job in jobs],
    }
    assert not Operation.objects.exists()
    assert not AuditEntry.objects.filter(action__contains="operation").exists()


def test_an_operation_is_cancelled(api: Caller, alice: Tenant) -> None:
    job = make_job(alice, Status.DLQ, queue="mail")
    operation = accepted(api.post("/operations", REDRIVE))
    cancel = f"/operations/{operation['id']}/cancel"
    assert api.post(cancel).json()["state"] == "CANCELLED"
    assert api.post(cancel).json()["state"] == "CANCELLED"
    run_all()
    job.refresh_from_db()
    assert job.status == Status.DLQ
    ended = accepted(api.post("/operations", REDRIVE))
    run_all()
    problem(api.post(f"/operations/{ended['id']}/cancel"), 409, "status_conflict")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"action": "redrive"}, "missing_field"),
        ({"filter": "queue:mail"}, "missing_field"),
        ({**REDRIVE, "filter": ""}, "invalid_filter"),
        ({**REDRIVE, "filter": " "}, "invalid_filter"),
        ({**REDRIVE, "filter": "queu:mail"}, "unknown_word"),
        ({**REDRIVE, "filter": "x" * 1_001}, "invalid_filter"),
        ({**REDRIVE, "filter": ["queue:mail"]}, "invalid_type"),
        ({**REDRIVE, "action": "delete"}, "invalid_choice"),
        ({**REDRIVE, "action": 1}, "invalid_type"),
        ({**REDRIVE, "dry_run": "yes"}, "invalid_type"),
        ({**REDRIVE, "rate_per_second": 0}, "out_of_range"),
        ({**REDRIVE, "rate_per_second": -1}, "out_of_range"),
        ({**REDRIVE, "rate_per_second": 1e9}, "out_of_range"),
        ({**REDRIVE, "rate_per_second": "5"}, "invalid_type"),
        ({**REDRIVE, "limit": 5}, "unknown_field"),
    ],
)
def test_a_request_is_read_strictly(api: Caller, body: dict[str, Any], code: str) -> None:
    problem(api.post("/operations", body), 400, code)
    assert not Operation.objects.exists()


def test_parameters_are_strict(api: Caller) -> None:
    for path in ("/operations?state=DONE", f"/operations/{uuid.uuid4()}?x=1"):
        problem(api.get(path), 400, "unknown_parameter")
    problem(api.post("/operations?dry_run=true", REDRIVE), 400, "unknown_parameter")
    problem(api.get("/operations?cursor=x"), 400, "invalid_cursor")


def test_too_many_at_once_are_refused(api: Caller, settings: Any) -> None:
    settings.JOBQUEUE = {"max_operations_per_tenant": 1}
    accepted(api.post("/operations", REDRIVE))
    problem(api.post("/operations", REDRIVE), 409, "too_many_operations")


def test_a_list_of_operations_has_pages(api: Caller) -> None:
    begun = [accepted(api.post("/operations", REDRIVE))["id"] for _ in range(3)]
    first = api.get("/operations?limit=2").json()
    second = api.get(first["next"].removeprefix("http://testserver")).json()
    assert [one["id"] for one in first["results"] + second["results"]] == begun[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["submit"], {"cancel", "retry"}),
        (["submit", "read"], {"cancel", "retry"}),
        (["read"], set()),
        (["admin"], {"cancel", "retry", "redrive", "discard"}),
    ],
)
def test_a_scope_allows_what_it_does_on_single_jobs(
    alice: Tenant, caller_of: Callable[..., Caller], scopes: list[str], allowed: set[str]
) -> None:
    caller, may_count = caller_of(alice, *scopes), scopes != ["submit"]
    for action in ("cancel", "retry", "redrive", "discard"):
        for dry_run in (True, False):
            body = {"action": action, "filter": "queue:mail", "dry_run": dry_run}
            response = caller.post("/operations", body)
            if may_count if dry_run else action in allowed:
                assert response.status_code in {200, 202}
            else:
                problem(response, 403, "insufficient_scope")


def test_cancelling_needs_the_scope_of_the_action(
    api: Caller, alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    submitter, reader = caller_of(alice, "submit"), caller_of(alice, "read")
    redrive = f"/operations/{accepted(api.post('/operations', REDRIVE))['id']}/cancel"
    retry = accepted(api.post("/operations", {**REDRIVE, "action": "retry"}))["id"]
    problem(submitter.post(redrive), 403, "insufficient_scope")
    problem(reader.post(redrive), 403, "insufficient_scope")
    problem(reader.post("/operations", REDRIVE), 403, "insufficient_scope")
    assert submitter.post(f"/operations/{retry}/cancel").json()["state"] == "CANCELLED"
    assert reader.get(f"/operations/{retry}").status_code == 200


def test_a_key_that_may_not_read_counts_nothing_and_sees_what_it_began(
    api: Caller, alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    make_job(alice, Status.FAILED, queue="mail")
    submitter, worker = caller_of(alice, "submit"), caller_of(alice, "work")
    retry = {**REDRIVE, "action": "retry"}
    others = accepted(api.post("/operations", retry))
    assert (others["expected"], others["expected_is_capped"]) == (1, False)
    refused = problem(
        submitter.post("/operations", {**retry, "dry_run": True}), 403, "insufficient_scope"
    )
    assert "'read'" in refused["detail"]
    own = accepted(submitter.post("/operations", retry))
    assert (own["expected"], own["expected_is_capped"]) == (None, None)
    assert submitter.get(f"/operations/{own['id']}").json() == own
    assert submitter.get("/operations").json()["results"] == [own]
    assert submitter.post(f"/operations/{own['id']}/cancel").json()["expected"] is None
    problem(submitter.get(f"/operations/{others['id']}"), 404, "not_found")
    problem(worker.get("/operations"), 403, "insufficient_scope")
    problem(worker.get(f"/operations/{own['id']}"), 403, "insufficient_scope")
    problem(Caller(None).get("/operations"), 401, "not_authenticated")


def test_a_key_that_may_not_read_does_not_find_out_what_errors_say(
    api: Caller, alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    submitter = caller_of(alice, "submit")
    asked = {"action": "retry", "filter": 'queue:mail message:"card 4111"'}
    refused = problem(submitter.post("/operations", asked), 403, "insufficient_scope")
    assert "'read'" in refused["detail"]
    others = accepted(api.post("/operations", asked))
    assert others["filter"] == asked["filter"]
    cancelled = submitter.post(f"/operations/{others['id']}/cancel").json()
    assert cancelled["filter"] == "queue:mail message:…"


def test_a_strangers_operation_is_as_absent_as_a_random_one(
    api: Caller, alice: Tenant, stranger: Caller
) -> None:
    make_job(alice, Status.DLQ, queue="mail")
    own = accepted(api.post("/operations", REDRIVE))["id"]
    for method, path in (("GET", "/operations/{}"), ("POST", "/operations/{}/cancel")):
        foreign = problem(stranger.call(method, path.format(own)), 404, "not_found")
        random = problem(stranger.call(method, path.format(uuid.uuid4())), 404, "not_found")
        assert foreign["detail"] == random["detail"]
    assert stranger.get("/operations").json()["results"] == []
    assert stranger.post("/operations", {**REDRIVE, "dry_run": True}).json()["count"] == 0
    assert accepted(stranger.post("/operations", REDRIVE))["expected"] == 0
    Operation.objects.filter(pk=own).update(state=OperationState.CANCELLED)
    run_all()
    assert Job.objects.get().status == Status.DLQ


def test_a_key_of_some_queues_acts_in_them_and_sees_its_own(api: Caller, alice: Tenant) -> None:
    mail, sms = (make_job(alice, Status.DLQ, queue=queue) for queue in ("mail", "sms"))
    key = create_api_key(alice, actor="command:test", queues=["mail", "post"])[1]
    limited = Caller(key)
    others = accepted(api.post("/operations", {**REDRIVE, "filter": "queue:none"}))["id"]
    own = accepted(limited.post("/operations", {**REDRIVE, "filter": "task:echo"}))
    assert [one["id"] for one in limited.get("/operations").json()["results"]] == [own["id"]]
    problem(limited.get(f"/operations/{others}"), 404, "not_found")
    problem(limited.post(f"/operations/{others}/cancel"), 404, "not_found")
    run_all()
    for job, status in ((mail, Status.PENDING), (sms, Status.DLQ)):
        job.refresh_from_db()
        assert job.status == status


@pytest.mark.parametrize("by_ids", [True, False])
def test_a_redrive_with_a_pace_is_an_operation(api: Caller, alice: Tenant, by_ids: bool) -> None:
    wanted = [make_job(alice, Status.DLQ, error_type='Read"Timeout') for _ in range(3)]
    others = [make_job(alice, Status.DLQ, error_type="Read"), make_job(alice, Status.DONE)]
    ids = [str(job.pk) for job in wanted]
    chosen = {"ids": ids} if by_ids else {"queue": "default", "error_type": 'Read"Timeout'}
    begun = accepted(api.post("/dlq/redrive", {**chosen, "rate_per_second": 1_000}))
    assert (begun["action"], begun["expected"]) == ("redrive", 3)
    run_all()
    for job in (*wanted, *others):
        before = job.status
        job.refresh_from_db()
        assert job.status == (Status.PENDING if job in wanted else before)


def test_a_pace_alone_is_no_choice(api: Caller) -> None:
    problem(api.post("/dlq/redrive", {"rate_per_second": 5}), 400, "invalid_input")
    body = {"queue": "not a name", "rate_per_second": 5}
    problem(api.post("/dlq/redrive", body), 400, "invalid_name")
    body = {"queue": "mail", "rate_per_second": 0}
    problem(api.post("/dlq/redrive", body), 400, "out_of_range")


def with_key(caller: Caller, key: str, body: Any) -> Any:
    return caller.post("/operations", body, headers={"Idempotency-Key": key})


def test_a_repeat_under_the_same_key_is_the_same_operation(
    api: Caller, alice: Tenant, settings: Any
) -> None:
    settings.JOBQUEUE = {"max_operations_per_tenant": 1}
    make_job(alice, Status.DLQ, queue="mail")
    begun = accepted(with_key(api, "k", REDRIVE))
    assert accepted(with_key(api, "k", {**REDRIVE, "rate_per_second": None})) == begun
    run_all()
    again = accepted(with_key(api, "k", {**REDRIVE, "dry_run": False}))
    assert (again["id"], again["state"], again["done"]) == (begun["id"], "DONE", 1)
    assert Operation.objects.count() == 1
    assert AuditEntry.objects.filter(action="start_operation").count() == 1


@pytest.mark.parametrize(
    "other", [{"filter": "queue:sms"}, {"action": "discard"}, {"rate_per_second": 5}]
)
def test_another_operation_under_the_same_key_is_refused(api: Caller, other: Any) -> None:
    accepted(with_key(api, "k", REDRIVE))
    problem(with_key(api, "k", {**REDRIVE, **other}), 422, "idempotency_mismatch")
    assert Operation.objects.count() == 1
    accepted(with_key(api, "l", {**REDRIVE, **other}))


def test_a_dry_run_uses_no_key_up(api: Caller) -> None:
    assert with_key(api, "k", {**REDRIVE, "dry_run": True}).status_code == 200
    accepted(with_key(api, "k", REDRIVE))


@pytest.mark.parametrize("key", ["", "k" * 256, "a,b", "schl\u00fcssel"])
def test_a_key_is_printable_and_one(api: Caller, key: str) -> None:
    problem(with_key(api, key, REDRIVE), 400, "invalid_input")
    problem(with_key(api, key, {**REDRIVE, "dry_run": True}), 400, "invalid_input")
    assert not Operation.objects.exists()


def test_tenants_do_not_share_keys_of_operations(api: Caller, stranger: Caller) -> None:
    ours, theirs = (accepted(with_key(caller, "k", REDRIVE)) for caller in (api, stranger))
    assert ours["id"] != theirs["id"]


def test_a_repeat_shows_nothing_that_the_key_may_not_see(
    api: Caller, alice: Tenant, caller_of: Callable[..., Caller]
) -> None:
    retry = {**REDRIVE, "action": "retry"}
    begun = accepted(with_key(api, "k", retry))
    problem(with_key(caller_of(alice, "submit"), "k", retry), 422, "idempotency_mismatch")
    assert accepted(with_key(caller_of(alice, "submit", "read"), "k", retry)) == begun
    assert Operation.objects.count() == 1


def test_who_comes_second_at_the_same_moment_gets_the_first_ones_operation(
    api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, inside = operations.preview, []

    def meanwhile(*arguments: Any) -> operations.Preview:
        if not inside:
            inside.append(True)
            inside.append(accepted(with_key(api, "k", REDRIVE)))
        return counted(*arguments)

    monkeypatch.setattr(operations, "preview", meanwhile)
    assert accepted(with_key(api, "k", REDRIVE)) == inside[1]
    assert Operation.objects.count() == 1
