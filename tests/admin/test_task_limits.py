"""Limits of tasks are set and lifted through the services, by those who may."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry, TaskLimit, Tenant

ADD = "/admin/jobs/tasklimit/add/"
FORM = {"task": "echo", "max_running": "3", "starts_per_minute": "", "start_burst": "1"}


@pytest.fixture
def limit(alice: Tenant) -> TaskLimit:
    """A limit of one of Alice's tasks, set without a trace."""
    return TaskLimit.objects.create(tenant=alice, task="echo", max_running=3)


def change(limit: TaskLimit) -> str:
    return f"/admin/jobs/tasklimit/{limit.pk}/change/"


def test_a_limit_of_one_tenant_and_one_of_all_are_set(operator: Client, alice: Tenant) -> None:
    for tenant in (str(alice.pk), ""):
        assert operator.post(ADD, FORM | {"tenant": tenant}).status_code == 302
    own, shared = TaskLimit.objects.order_by("pk")
    assert (own.tenant, own.max_running, shared.tenant) == (alice, 3, None)
    entries = AuditEntry.objects.order_by("pk").values_list("actor", "action", "tenant", "target")
    actor = ("user:olga", "limit_task")
    assert list(entries) == [(*actor, alice.pk, "echo"), (*actor, None, "echo")]
    assert "all together" in operator.get("/admin/jobs/tasklimit/").text


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_running": ""},
        {"max_running": "-1"},
        {"starts_per_minute": "0"},
        {"start_burst": "0"},
        {"task": "e o"},
        {"tenant": "0"},
        {"tenant": "x"},
        {"tenant": "9" * 30},
    ],
    ids=str,
)
def test_an_impossible_limit_is_refused(
    operator: Client, alice: Tenant, wrong: dict[str, str]
) -> None:
    page = operator.post(ADD, FORM | wrong)
    assert page.context["errors"]
    assert not TaskLimit.objects.exists()


@pytest.mark.usefixtures("limit")
def test_what_the_services_refuse_is_said_on_the_page(
    operator: Client, alice: Tenant, settings: Any
) -> None:
    settings.JOBQUEUE = {"max_task_limits_per_tenant": 1}
    page = operator.post(ADD, FORM | {"tenant": str(alice.pk), "task": "sleep"}, follow=True)
    assert page.redirect_chain == [(ADD, 302)]
    assert "limits" in page.text
    assert [str(one.level_tag) for one in page.context["messages"]] == ["error"]
    assert TaskLimit.objects.count() == 1


@pytest.mark.usefixtures("limit")
def test_a_task_has_one_limit_for_a_tenant(operator: Client, alice: Tenant) -> None:
    assert operator.post(ADD, FORM | {"tenant": str(alice.pk)}).context["errors"]
    assert TaskLimit.objects.count() == 1


def test_a_changed_limit_is_on_record(operator: Client, limit: TaskLimit) -> None:
    operator.post(change(limit), FORM | {"task": "other", "starts_per_minute": "60"})
    limit.refresh_from_db()
    assert (limit.task, limit.max_running, limit.starts_per_minute) == ("echo", 3, 60)
    details = AuditEntry.objects.get().details
    assert (details["before"]["starts_per_minute"], details["after"]["starts_per_minute"]) == (
        *(None, 60),
    )


def test_a_limit_is_lifted_on_its_page(operator: Client, limit: TaskLimit) -> None:
    operator.post(f"/admin/jobs/tasklimit/{limit.pk}/delete/", {"post": "yes"})
    assert not TaskLimit.objects.exists()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.tenant_id) == ("unlimit_task", limit.tenant_id)


def test_who_may_only_look_changes_nothing(staff: Callable[..., Client], limit: TaskLimit) -> None:
    client = staff("view_tasklimit")
    assert client.get(change(limit)).status_code == 200
    for address in (ADD, change(limit), f"/admin/jobs/tasklimit/{limit.pk}/delete/"):
        assert client.post(address, FORM | {"max_running": "9", "post": "yes"}).status_code == 403
    limit.refresh_from_db()
    assert limit.max_running == 3


def test_who_may_change_limits_but_is_no_superuser_does(
    staff: Callable[..., Client], limit: TaskLimit
) -> None:
    client = staff("view_tasklimit", "change_tasklimit")
    assert client.post(change(limit), FORM | {"max_running": "9"}).status_code == 302
    limit.refresh_from_db()
    assert limit.max_running == 9
