"""The audit log is read by those who may, narrowed, in pages, with what changed made plain."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs import services
from jobs.keys import create_api_key
from jobs.models import AuditEntry, Role, Tenant

Listed = Callable[..., list[str]]


@pytest.fixture
def log(alice: Tenant, mallory: Tenant) -> None:
    """Alice's limits were changed by Ann; others did other things."""
    services.change_limits(alice, actor="user:ann", max_running=3, weight=2)
    services.audit("key:abc", "pause", alice.pk, "mail")
    services.audit("user:max", "pause", mallory.pk, "hers")
    services.audit("command:root", "limit_task", None, "echo", after={"max_running": 1})


def _targets(client: Client, **query: str) -> list[str]:
    entries = client.get(reverse("audit"), query).context["audit"]["entries"]
    return [entry.row.target for entry in entries]


def test_a_tenants_admin_reads_its_log_and_no_other(ann: Client, log: None) -> None:
    assert _targets(ann) == ["mail", "alice"]
    assert ann.get(reverse("audit"), {"tenant": "mallory"}).status_code == 404


def test_it_is_narrowed_by_who_and_what(ann: Client, log: None) -> None:
    assert _targets(ann, who="ann") == ["alice"]
    assert _targets(ann, who="key:") == ["mail"]
    assert _targets(ann, action="pause") == ["mail"]
    assert _targets(ann, who="ann", action="pause") == []
    assert "No entry matches" in ann.get(reverse("audit"), {"who": "nobody"}).text


def test_it_is_narrowed_by_time(ann: Client, log: None) -> None:
    hour = timedelta(hours=1)
    before, after = (f"{timezone.now() + by:%Y-%m-%dT%H:%M}" for by in (-hour, hour))

    assert len(_targets(ann, **{"from": before, "to": after})) == 2
    assert _targets(ann, **{"from": after}) == []
    assert _targets(ann, to=before) == []
    assert _targets(ann, to="2020-01-31") == []


@pytest.mark.parametrize(
    "moment",
    [
        *("yesterday", "2026-13-40", "2026-02-30T00:00"),
        *("0001-01-01T00:00+05:00", "9999-12-31T23:59-05:00"),
    ],
)
def test_what_is_no_time_is_told(ann: Client, log: None, moment: str) -> None:
    page = ann.get(reverse("audit"), {"from": moment})

    assert page.status_code == 200
    assert "is no time" in page.text


def test_what_changed_is_told_apart_from_what_stayed(ann: Client, alice: Tenant) -> None:
    services.audit(
        "user:ann",
        "change_limits",
        alice.pk,
        "alice",
        before={"max_running": 5, "weight": 1},
        after={"max_running": None, "weight": 1},
    )

    page = ann.get(reverse("audit"))
    (entry,) = page.context["audit"]["entries"]

    assert [(change.name, change.is_same) for change in entry.changes] == [
        ("max running", False),
        ("weight", True),
    ]
    assert "<del>5</del>" in page.text
    assert "<ins>none</ins>" in page.text


def test_values_are_shown_as_text_and_never_as_markup(ann: Client, alice: Tenant) -> None:
    services.audit("user:ann", "pause", alice.pk, "<b>mail</b>", reason="<script>", jobs=["a", "b"])

    page = ann.get(reverse("audit")).text

    assert "<b>mail" not in page
    assert "<dd>&lt;script&gt;</dd>" in page
    assert "<dd>a, b</dd>" in page


def test_it_has_pages(ann: Client, alice: Tenant) -> None:
    for number in range(60):
        services.audit("user:ann", "pause", alice.pk, f"queue-{number}")

    first = ann.get(reverse("audit"), {"action": "pause"})
    place = str(first.context["audit"]["page"].before)

    assert len(first.context["audit"]["entries"]) == 50
    assert _targets(ann, action="pause", before=place) == [f"queue-{n}" for n in range(9, -1, -1)]
    assert len(_targets(ann, before="no place")) == 50


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_it_is_for_admins(log_in: Callable[..., Client], alice: Tenant, role: str) -> None:
    client = log_in("vic", alice, role=role)

    assert client.get(reverse("audit")).status_code == 403
    assert reverse("audit") not in client.get(reverse("overview")).text


def test_staff_need_the_permission_and_read_what_is_of_no_tenant(
    operator: Client, log: None
) -> None:
    assert operator.get(reverse("audit")).status_code == 403

    permission = Permission.objects.get(codename="view_auditentry")
    User.objects.get(username="olga").user_permissions.add(permission)

    assert _targets(operator) == ["echo", "hers", "mail", "alice"]
    assert _targets(operator, tenant="mallory") == ["hers"]


def test_nothing_is_written_by_reading(ann: Client, log: None) -> None:
    count = AuditEntry.objects.count()
    with connection.execute_wrapper(_refuse_writes):
        ann.get(reverse("audit"))

    assert ann.post(reverse("audit")).status_code == 405
    assert AuditEntry.objects.count() == count


def _refuse_writes(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
    assert "jobs_auditentry" not in sql or sql.startswith("SELECT")
    return execute(sql, params, many, context)


def test_a_key_for_all_queues_is_told_as_that(ann: Client, alice: Tenant) -> None:
    create_api_key(alice, actor="user:ann")
    (entry,) = ann.get(reverse("audit"), {"action": "create_api_key"}).context["audit"]["entries"]
    said = dict(entry.facts) | {one.name: one.after for one in entry.changes}
    assert said["queues"] == "all"
