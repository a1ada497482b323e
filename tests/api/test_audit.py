"""The audit log: every action is in it, with its address, and nothing ever changes it."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import Error, connection, transaction
from django.test import Client, RequestFactory

from jobs import services
from jobs.callers import address_of, caller_address, counted_address, remember_address
from jobs.models import AuditEntry, Membership, Role, Tenant
from jobs.statuses import Status
from tests.api.conftest import Caller, problem
from tests.factories import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(db: None) -> Client:
    """The browser of a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    return client


def entries(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get(f"/audit{query}").json()["results"]
    return found


def test_a_tenant_reads_who_did_what_to_it(api: Caller, alice: Tenant) -> None:
    services.change_limits(alice, actor="user:olga", max_running=4)
    last = entries(api)[0]
    assert (last["actor"], last["action"], last["target"]) == (
        "user:olga",
        "change_limits",
        "alice",
    )
    assert last["address"] is None
    assert last["details"]["after"] == {"max_running": 4}
    assert entries(api, "?action=pause") == []


def test_an_action_that_there_is_not_is_told_by_the_nearest(api: Caller) -> None:
    body = problem(api.get("/audit?action=cretae_api_key"), 400, "invalid_choice")
    assert "create_api_key" in body["detail"]
    for action in ("nonsense", "", "PAUSE", "pause,resume", "%00", "x" * 5_000):
        problem(api.get(f"/audit?action={action}"), 400, "invalid_choice")


def test_it_is_for_admins_and_of_ones_own_tenant(
    api: Caller, alice: Tenant, stranger: Caller, caller_of: Callable[..., Caller]
) -> None:
    services.change_limits(alice, actor="user:olga", max_running=4)
    assert {entry["action"] for entry in entries(stranger)} == {"create_api_key"}
    problem(caller_of(alice, "read", "submit", "work").get("/audit"), 403, "insufficient_scope")


def test_pages_hold_every_entry_once(api: Caller, alice: Tenant) -> None:
    for number in range(1, 6):
        services.change_limits(alice, actor="user:olga", max_running=number)
    page = api.get("/audit?limit=2&action=change_limits").json()
    found = page["results"]
    while page["next"]:
        page = api.get(page["next"].removeprefix("http://testserver")).json()
        found += page["results"]
    assert [entry["details"]["after"]["max_running"] for entry in found] == [5, 4, 3, 2, 1]
    cursor = api.get("/audit?limit=2").json()["next"].partition("cursor=")[2]
    problem(api.get(f"/audit?limit=2&action=pause&cursor={cursor}"), 400, "invalid_cursor")


def test_actions_on_the_pages_have_an_address(
    operator: Client, alice: Tenant, settings: Any
) -> None:
    settings.PROXIES = 1
    make_job(alice, queue="mail")
    forwarded = {"X-Forwarded-For": "6.6.6.6, 2001:DB8::1"}
    operator.post("/queues/alice/mail/pause", {"reason": "mail is down"}, headers=forwarded)
    operator.post(
        "/admin/jobs/tasklimit/add/",
        {"tenant": alice.pk, "task": "echo", "max_running": "3", "start_burst": "1"},
        headers=forwarded,
    )
    found = AuditEntry.objects.filter(actor="user:olga")
    assert {(entry.action, entry.address) for entry in found} == {
        ("pause", "2001:db8::1"),
        ("limit_task", "2001:db8::1"),
    }


def test_actions_on_the_command_line_have_none(alice: Tenant) -> None:
    call_command("tenants", "set", "alice", "--max-running", "3")
    call_command("jobs", "submit", "echo", "--tenant", "alice", stdout=StringIO())
    found = AuditEntry.objects.order_by("pk").values_list("actor", "action", "address")
    assert list(found) == [
        ("command:tenants", "change_limits", None),
        ("command:jobs", "submit", None),
    ]


def test_who_submits_by_hand_is_written_down(operator: Client, alice: Tenant) -> None:
    form = {"tenant": "alice", "task": "echo", "payload": "1", "queue": "default"}
    form |= {"priority": "0", "delay_seconds": "0", "idempotency_key": "once"}
    page, again = operator.post("/jobs/new", form), operator.post("/jobs/new", form)
    assert (page.status_code, page["Location"]) == (302, again["Location"]), page.content
    entry = AuditEntry.objects.get(action="submit")
    assert (entry.actor, entry.address, entry.tenant) == ("user:olga", "127.0.0.1", alice)
    assert entry.target in page["Location"]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "1.1.1.1", "9.9.9.9"),
        (1, "1.1.1.1", "1.1.1.1"),
        (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        (2, "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
        (2, "1.1.1.1", "9.9.9.9"),
        (1, "unknown", None),
        (1, "", None),
    ],
)
def test_an_address_is_what_our_own_proxies_saw(
    settings: Any, proxies: int, forwarded: str, expected: str | None
) -> None:
    settings.PROXIES = proxies
    request = RequestFactory().get(
        "/", REMOTE_ADDR="9.9.9.9", headers={"X-Forwarded-For": forwarded}
    )
    assert address_of(request) == expected


def test_a_socket_without_an_address_is_counted_as_one() -> None:
    assert counted_address(RequestFactory().get("/", REMOTE_ADDR="")) == "0.0.0.0"


def test_an_address_is_remembered_for_its_request_alone() -> None:
    seen: list[str | None] = []
    answer = remember_address(lambda request: seen.append(caller_address()))  # type: ignore[arg-type, func-returns-value]
    answer(RequestFactory().get("/", REMOTE_ADDR="9.9.9.9"))
    assert [*seen, caller_address()] == ["9.9.9.9", None]


def test_nobody_changes_or_removes_an_entry(alice: Tenant) -> None:
    services.audit("user:olga", "pause", alice.pk, "mail")
    entry = AuditEntry.objects.get()
    entry.actor = "user:eve"
    for attempt in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(actor="user:eve"),
    ):
        with pytest.raises(TypeError, match="append only"):
            attempt()
    assert AuditEntry.objects.get().actor == "user:olga"


def test_the_database_refuses_it_too(alice: Tenant) -> None:
    services.audit("user:olga", "pause", alice.pk, "mail")
    statements = ["UPDATE jobs_auditentry SET actor = 'user:eve'"]
    if connection.vendor == "postgresql":
        statements.append("DELETE FROM jobs_auditentry")
    for statement in statements:
        with (
            pytest.raises(Error, match="append only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert AuditEntry.objects.get().actor == "user:olga"


def test_entries_outlive_their_tenant(operator: Client, alice: Tenant) -> None:
    tenant_id = alice.pk
    services.change_limits(alice, actor="user:olga", is_active=False)
    services.delete_tenant(alice, actor="user:olga")
    kept = AuditEntry.objects.order_by("pk").values_list("action", "tenant_id")
    assert list(kept) == [("change_limits", tenant_id), ("delete_tenant", None)]
    entry = AuditEntry.objects.earliest("pk")
    assert operator.get("/admin/jobs/auditentry/").status_code == 200
    assert operator.get(f"/admin/jobs/auditentry/{entry.pk}/change/").status_code == 200


def test_a_redrive_by_filter_says_what_it_was(api: Caller, alice: Tenant) -> None:
    for queue in ("a", "b"):
        make_job(alice, Status.DLQ, queue=queue)
    api.post("/dlq/redrive", {"task": "echo"})
    details = AuditEntry.objects.get(action="redrive").details
    assert (details["count"], details["filter"]) == (2, 'task:"echo"')


def test_what_a_filter_was_is_read_by_those_who_may_not_read_errors(
    api: Caller, alice: Tenant
) -> None:
    make_job(alice, Status.DLQ)
    api.post("/dlq/redrive", {"task": "echo"})
    services.audit("key:old", "redrive", alice.pk, "2 jobs", filter={"task": "echo"})
    admin = User.objects.create_user("ann")
    Membership.objects.create(tenant=alice, user=admin, role=Role.ADMIN)
    client = Client()
    client.force_login(admin)
    page = client.get("/audit/")
    assert page.status_code == 200
    assert page.text.count("echo") >= 2


def test_a_name_of_any_length_is_an_actor(alice: Tenant) -> None:
    make_job(alice, queue="mail")
    client = Client()
    client.force_login(User.objects.create_superuser("o" * 150))
    client.post("/queues/alice/mail/pause", {"reason": "mail is down"})
    entry = AuditEntry.objects.get(action="pause")
    assert entry.actor == f"user:{'o' * 145}"
