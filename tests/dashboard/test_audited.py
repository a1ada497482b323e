"""Whatever somebody changes on the pages is in the audit log, with what it has to tell.

The table is compared with the addresses of the pages: one that is in neither half fails.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard.urls import urlpatterns
from jobs import operations
from jobs.keys import create_api_key
from jobs.models import Membership, Tenant, Worker
from jobs.statuses import BulkAction, Status
from tests.audit_log import last_entry, new_entry
from tests.factories import make_job

pytestmark = pytest.mark.django_db

Prepare = Callable[[Tenant], tuple[dict[str, Any], dict[str, Any]]]
"""Makes what a page is about; answers the parts of its address, and the form."""


def job(action: str, status: Status) -> Prepare:
    return lambda tenant: ({"job_id": make_job(tenant, status).pk, "action": action}, {})


def chosen(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"action": "cancel", "id": [make_job(tenant).pk], "sure": "yes"}


def queue(**form: str) -> Prepare:
    def prepare(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
        make_job(tenant, queue="mail")
        return {"slug": tenant.slug, "queue": "mail"}, form

    return prepare


def member(**form: str) -> Prepare:
    def prepare(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
        user = User.objects.create_user("bob")
        Membership.objects.create(tenant=tenant, user=user)
        return {"slug": tenant.slug, "user_id": user.pk}, form

    return prepare


def worker(action: str, **fields: str) -> Prepare:
    def prepare(_: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
        now = timezone.now()
        times = {"started_at": now, "seen_at": now}
        Worker.objects.create(id="w", host="h", pid=1, slots=1, **times, **fields)
        return {"worker_id": "w", "action": action}, {}

    return prepare


def key(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"prefix": create_api_key(tenant, actor="command:test")[0].prefix}, {"overlap": "3600"}


def operation(tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    begun = operations.start(tenant, BulkAction.CANCEL, "queue:mail", actor="user:me")
    return {"operation_id": begun.pk}, {}


def plain(parts: dict[str, Any], **form: str) -> Prepare:
    return lambda tenant: (parts, form)


ALICE = {"slug": "alice"}
LIMITS = {"weight": "2", "start_burst": "1"}
DEEDS: Mapping[tuple[str, str], Prepare] = {
    ("submit", "submit"): plain(
        {}, tenant="alice", task="echo", payload="1", queue="q", priority="0", delay_seconds="0"
    ),
    ("act-on-job", "cancel"): job("cancel", Status.PENDING),
    ("act-on-job", "retry"): job("retry", Status.FAILED),
    ("act-on-job", "discard"): job("discard", Status.DLQ),
    ("act-on-chosen", "cancel"): chosen,
    ("export-jobs", "export"): plain({}, format="csv"),
    ("start-operation", "start_operation"): plain({}, action="cancel", filter="queue:mail"),
    ("cancel-operation", "cancel_operation"): operation,
    ("pause-queue", "pause"): queue(reason="down"),
    ("resume-queue", "resume"): queue(),
    ("queue-limits", "change_limits"): queue(**LIMITS),
    ("tenant-limits", "change_limits"): plain(ALICE, **LIMITS),
    ("set-suspended", "change_limits"): plain({**ALICE, "action": "suspend"}),
    ("member", "change_member"): member(role="operator"),
    ("remove-member", "remove_member"): member(),
    ("new-key", "create_api_key"): plain({}, tenant="alice", scopes="read"),
    ("rotate-key", "rotate_api_key"): key,
    ("revoke-key", "revoke_api_key"): key,
    ("ask-worker", "quiet_worker"): worker("quiet"),
    ("ask-worker", "resume_worker"): worker("resume", asked_to="quiet"),
    ("ask-worker", "stop_worker"): worker("stop"),
}
OF_ONESELF = {"login", "logout", "save-view", "delete-view", "settings"}
LOOKS = {
    *("overview", "jobs", "filter-values", "job", "stored-json", "log-text", "dead", "queues"),
    *("tenants", "tenant", "operations", "operation", "workers", "keys", "audit", "find"),
    "favicon",
}


def test_every_page_is_in_the_table() -> None:
    assert {one.name for one in urlpatterns} == {name for name, _ in DEEDS} | OF_ONESELF | LOOKS


@pytest.mark.parametrize("deed", DEEDS, ids=" ".join)
def test_it_is_written_down(alice: Tenant, deed: tuple[str, str]) -> None:
    name, action = deed
    client = Client(REMOTE_ADDR="2001:db8::7")
    client.force_login(User.objects.create_superuser("olga"))
    parts, form = DEEDS[deed](alice)
    last = last_entry()
    narrowed = "?tenant=alice" if name in {"start-operation", "export-jobs"} else ""
    client.post(reverse(name, kwargs=parts) + narrowed, form)
    entry = new_entry(action, actor="user:olga", address="2001:db8::7", after=last)
    assert entry.tenant_id == (None if name == "ask-worker" else alice.pk)


@pytest.mark.parametrize("name", sorted(LOOKS - {"favicon"}))
def test_to_look_is_all_that_the_others_are_for(alice: Tenant, name: str) -> None:
    """A POST to a page that only shows is refused."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    found = {one.name: one for one in urlpatterns}[name]
    parts = {
        **{"job_id": make_job(alice).pk, "part": "payload", "fence": 1, "slug": "alice"},
        "operation_id": operation(alice)[0]["operation_id"],
    }
    address = reverse(name, kwargs={x: parts[x] for x in found.pattern.regex.groupindex})
    assert client.post(address).status_code == 405
