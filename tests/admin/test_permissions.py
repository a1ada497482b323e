"""Every address of the admin, by GET and by POST, with each permission alone: what opens, and what
changes something.

An address that is not in the table fails the test: who adds one says here what it takes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse
from django.utils import timezone

from jobs.keys import create_api_key
from jobs.models import AuditEntry, Job, Lane, Role, TaskLimit, Tenant, Worker
from jobs.statuses import Status
from tests.dashboard.test_roles import WRITING
from tests.factories import make_job

MODELS = ("apikey", "auditentry", "deadletter", "job", "lane", "tasklimit", "tenant", "worker")
STOCK = {"index", "login", "logout", "password_change", "password_change_done", "jsi18n"}
STOCK |= {"autocomplete", "view_on_site", "app_list"}
VIEWS = ("changelist", "add", "history", "delete", "change")
OWN = {"apikey_confirm", "lane_confirm", "deadletter_confirm", "deadletter_edit"}
OWN |= {"deadletter_export"}


def seen(*models: str) -> set[str]:
    """The pages that only show."""
    return {f"{model}_{view}" for model in models for view in ("changelist", "change", "history")}


OF_JOBS = seen("job", "deadletter")
OPENS: Mapping[str, set[str]] = {
    "": set(),
    "view_job": OF_JOBS,
    "view_job operate_job": OF_JOBS | {"deadletter_confirm"},
    "view_job view_payload": OF_JOBS | {"deadletter_export"},
    "operate_job view_payload": set(),
    "view_job operate_job view_payload": OF_JOBS | {name for name in OWN if "deadletter" in name},
    **{f"view_{model}": seen(model) for model in MODELS if model not in {"job", "deadletter"}},
    **{f"change_{model}": seen(model) for model in ("auditentry", "worker", "tasklimit", "tenant")},
    **{f"change_{model}": seen(model) | {f"{model}_confirm"} for model in ("apikey", "lane")},
    **{f"add_{model}": {f"{model}_add"} for model in ("apikey", "tasklimit", "tenant")},
    **{f"delete_{model}": {f"{model}_delete"} for model in ("tasklimit", "tenant")},
}
"""What of the project's admin staff can look at with these permissions, and with no others."""
CHANGES: Mapping[str, set[str]] = {
    "view_job operate_job": {"deadletter_confirm"},
    "view_job view_payload": {"deadletter_export"},
    "view_job operate_job view_payload": {name for name in OWN if "deadletter" in name},
    **{name: pages for name, pages in OPENS.items() if name.startswith(("add_", "delete_"))},
    **{f"change_{model}": {f"{model}_change"} for model in ("tasklimit", "tenant")},
    "change_apikey": {"apikey_confirm"},
    "change_lane": {"lane_change", "lane_confirm"},
}
"""What can be changed with them, if only the audit log: nothing with any other."""


class Page(NamedTuple):
    """An address, and what would do the most there."""

    address: str
    form: Mapping[str, Any]


NO_MEMBERS = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
LIMITS = {"weight": "3", "max_running": "2", "start_burst": "1"}
KEY = {"name": "mine", "scopes": ["submit"]}


@pytest.fixture
def pages(alice: Tenant, mallory: Tenant) -> dict[str, Page]:
    """Every page of the project by its name, about a row that there is."""
    dead = make_job(alice, Status.DLQ)
    limit = TaskLimit.objects.create(tenant=alice, task="echo", max_running=1)
    key, _ = create_api_key(alice, actor="command:test")
    now = timezone.now()
    worker = Worker.objects.create(id="w", host="h", pid=1, slots=4, started_at=now, seen_at=now)
    Tenant.objects.filter(pk=mallory.pk).update(is_active=False)
    rows: dict[str, Any] = {
        **{"apikey": key, "auditentry": AuditEntry.objects.latest("pk"), "tasklimit": limit},
        **{"lane": Lane.objects.get(pk=dead.lane_id), "tenant": mallory, "worker": worker},
        **{"deadletter": dead, "job": dead},
    }
    forms: dict[str, Mapping[str, Any]] = {
        "apikey_add": KEY | {"tenant": str(alice.pk)},
        "tasklimit_add": LIMITS | {"task": "other", "tenant": str(alice.pk)},
        "tasklimit_change": LIMITS,
        "tenant_add": NO_MEMBERS | LIMITS | {"slug": "new", "is_active": "on"},
        "tenant_change": NO_MEMBERS | LIMITS | {"is_active": "on"},
        "lane_change": LIMITS | {"is_paused": "on"},
        "deadletter_edit": {"payload": "[1]", "confirmed": "yes"},
    }
    anything = {"task": "mine", "status": "DONE", "queue": "mine", "payload": "[1]", "slug": "mine"}
    return {
        name: Page(address, forms.get(name, anything | more))
        for model, row in rows.items()
        for name, address, more in _addresses(model, row.pk)
    }


def _addresses(model: str, pk: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    ticked = {"_selected_action": [str(pk)], "index": "0", "select_across": "0"}
    for view in VIEWS:
        args = [] if view in {"changelist", "add"} else [pk]
        more = {"changelist": ticked | {"action": "delete_selected"}, "delete": {"post": "yes"}}
        yield (
            f"{model}_{view}",
            reverse(f"admin:jobs_{model}_{view}", args=args),
            more.get(view, {}),
        )
    acts = {"apikey": "revoke", "lane": "pause", "deadletter": "discard"}
    if act := acts.get(model):
        confirm = reverse(f"admin:jobs_{model}_confirm", args=[act])
        yield f"{model}_confirm", f"{confirm}?ids={pk}", {"ids": str(pk)}
    if model == "deadletter":
        yield "deadletter_edit", reverse("admin:jobs_deadletter_edit", args=[pk]), {}
        yield "deadletter_export", reverse("admin:jobs_deadletter_export"), {}


def test_every_address_is_in_the_table(pages: dict[str, Page]) -> None:
    known = {f"{model}_{view}" for model in MODELS for view in VIEWS} | OWN
    assert set(pages) == known
    names = {name for name in _names(admin.site.urls[0]) if not name.startswith("auth_")}
    assert names == STOCK | {f"jobs_{name}" for name in known}


def _names(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def test_every_permission_is_tried(db: None) -> None:
    of_tables = Permission.objects.filter(content_type__app_label="jobs")
    shown = [f"_{model}" for model in MODELS]
    tried = {one for names in [*OPENS, WORTHLESS] for one in names.split()}
    codenames = of_tables.values_list("codename", flat=True)
    assert {name for name in codenames if name.endswith((*shown, "payload"))} == tried


WORTHLESS = (
    "add_job change_job delete_job add_auditentry delete_auditentry add_worker delete_worker "
    "add_lane delete_lane delete_apikey"
)
"""Permissions that Django makes and that allow nothing: jobs, and what the system writes."""


@pytest.mark.parametrize("permissions", [*OPENS, WORTHLESS])
def test_permissions_open_and_change_what_the_table_says_and_nothing_else(
    staff: Callable[..., Client], pages: dict[str, Page], permissions: str
) -> None:
    client = staff(*permissions.split())
    opened = {name for name, page in pages.items() if _is_shown(client, page)}
    assert opened == OPENS.get(permissions, set())
    changed = {name for name, page in pages.items() if _changes(client, page)}
    assert changed == CHANGES.get(permissions, set())


@pytest.mark.parametrize("role", Role.values)
def test_no_member_gets_in(alice: Tenant, pages: dict[str, Page], role: str) -> None:
    user = User.objects.create_user("ann")
    user.tenants.add(alice, through_defaults={"role": role, "sees_payloads": True})
    client = Client()
    client.force_login(user)
    assert not [name for name, page in pages.items() if _is_shown(client, page)]
    assert not [name for name, page in pages.items() if _changes(client, page)]


def test_not_even_with_every_right_is_a_job_edited(
    operator: Client, pages: dict[str, Page]
) -> None:
    before = list(Job.objects.values())
    for name, page in pages.items():
        if name.startswith(("job_", "deadletter_")) and name not in OWN:
            for address in (page.address, f"{page.address}?_popup=1&_to_field=id"):
                operator.post(address, {**page.form, "_popup": "1", "_to_field": "id"})
    assert list(Job.objects.values()) == before


def _is_shown(client: Client, page: Page) -> bool:
    status = client.get(page.address).status_code
    assert status in {200, 302, 403, 404}, page.address
    return status == 200


def _changes(client: Client, page: Page) -> bool:
    with transaction.atomic(), _writes() as writes:
        assert client.post(page.address, page.form).status_code < 500
        transaction.set_rollback(True)
    return bool(writes)


@contextmanager
def _writes() -> Iterator[list[str]]:
    """Collects the statements that may have changed the project's tables."""
    writes: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if WRITING.search(sql):
            writes.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield writes
