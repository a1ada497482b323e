"""Tenants and lanes change through the services, and leave entries in the audit log."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.keys import create_api_key
from jobs.models import AuditEntry, Lane, Tenant
from jobs.statuses import Status
from tests.factories import make_job

FORM = {"slug": "acme", "is_active": "on", "weight": "2", "max_running": "7", "start_burst": "1"}
NO_MEMBERS = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
LANE = {"weight": "1", "max_running": "", "start_burst": "1"}


def test_a_tenant_is_made_with_its_limits(operator: Client, db: None) -> None:
    operator.post("/admin/jobs/tenant/add/", NO_MEMBERS | FORM | {"max_pending": "9"})
    tenant = Tenant.objects.get()
    limits = (tenant.weight, tenant.max_running, tenant.submissions_per_minute, tenant.max_pending)
    assert (tenant.slug, *limits) == ("acme", 2, 7, None, 9)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.tenant) == ("user:olga", "create_tenant", tenant)


def test_a_tenant_says_how_long_its_jobs_are_kept(operator: Client, alice: Tenant) -> None:
    operator.post("/admin/jobs/tenant/add/", NO_MEMBERS | FORM | {"keep_finished_days": "30"})
    made = Tenant.objects.get(slug="acme")
    assert (made.keep_finished_days, made.keep_dead_days) == (30, None)
    _change(operator, alice, is_active="on", weight="1", keep_dead_days="90")
    alice.refresh_from_db()
    assert (alice.keep_finished_days, alice.keep_dead_days) == (None, 90)
    details = {"before": {"keep_dead_days": None}, "after": {"keep_dead_days": 90}}
    assert AuditEntry.objects.get(action="change_limits").details == details


@pytest.mark.parametrize("wrong", [{"slug": "No Slug"}, {"weight": "0"}, {"slug": "alice"}])
def test_an_impossible_tenant_is_refused(
    operator: Client, alice: Tenant, wrong: dict[str, str]
) -> None:
    page = operator.post("/admin/jobs/tenant/add/", NO_MEMBERS | FORM | wrong)
    assert page.context["errors"]
    assert Tenant.objects.count() == 1


def test_changed_limits_are_in_force_and_on_record(operator: Client, alice: Tenant) -> None:
    _change(operator, alice, is_active="on", weight="1", max_running="3")
    alice.refresh_from_db()
    assert (alice.is_active, alice.max_running, alice.submissions_per_minute) == (True, 3, None)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.tenant) == ("change_limits", alice)
    assert entry.details == {"before": {"max_running": None}, "after": {"max_running": 3}}


def test_a_tenant_is_switched_off(operator: Client, alice: Tenant) -> None:
    _change(operator, alice, weight="1")
    alice.refresh_from_db()
    assert not alice.is_active


def test_a_slug_stays(operator: Client, alice: Tenant) -> None:
    _change(operator, alice, is_active="on", weight="1", slug="other")
    alice.refresh_from_db()
    assert alice.slug == "alice"
    assert not AuditEntry.objects.exists()


def test_members_are_set_and_on_record(operator: Client, alice: Tenant) -> None:
    bob = User.objects.create_user("bob")
    member = {"memberships-0-user": str(bob.pk), "memberships-0-role": "operator"}
    _change(operator, alice, is_active="on", weight="1", **member, **{"memberships-TOTAL_FORMS": 1})
    assert list(alice.members.all()) == [bob]
    entry = AuditEntry.objects.get()
    members = {"bob": {"role": "operator", "sees_payloads": False}}
    assert (entry.action, entry.details) == ("set_members", {"before": {}, "after": members})


@pytest.mark.parametrize(("more", "sees"), [((), False), (("view_payload",), True)])
def test_who_may_not_see_payloads_lets_nobody_see_them(
    staff: Callable[..., Client], alice: Tenant, more: tuple[str, ...], sees: bool
) -> None:
    bob = User.objects.create_user("bob")
    member = {"memberships-0-user": str(bob.pk), "memberships-0-role": "viewer"}
    wanted = {"memberships-0-sees_payloads": "on", "memberships-TOTAL_FORMS": 1}
    client = staff("view_tenant", "change_tenant", "view_user", *more)
    _change(client, alice, is_active="on", weight="1", **member, **wanted)
    assert alice.memberships.get().sees_payloads is sees


def test_who_may_only_look_at_tenants_sets_no_members(
    staff: Callable[..., Client], alice: Tenant
) -> None:
    bob = User.objects.create_user("bob")
    member = {"memberships-0-user": str(bob.pk), "memberships-0-role": "admin"}
    address = f"/admin/jobs/tenant/{alice.pk}/change/"
    client = staff("view_tenant")
    assert client.get(address).status_code == 200
    form = NO_MEMBERS | member | {"memberships-TOTAL_FORMS": 1}
    assert client.post(address, form).status_code == 403
    assert not alice.members.exists()


def test_the_list_shows_what_runs_waits_and_died(operator: Client, alice: Tenant) -> None:
    for status in (Status.DLQ, Status.FAILED, Status.SCHEDULED, Status.RUNNING, Status.PENDING):
        make_job(alice, status)
    page = operator.get("/admin/jobs/tenant/").text
    assert '<a href="/admin/jobs/job/?tenant=alice&amp;status=RUNNING">1</a>' in page
    assert '<td class="field-waiting">3</td>' in page
    assert '<a href="/admin/jobs/deadletter/?tenant=alice">1</a>' in page


def test_figures_end_at_a_bound(
    operator: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.admin.tenants.COUNTED_AT_MOST", 2)
    for _ in range(4):
        make_job(alice)
    assert '<td class="field-waiting">2+</td>' in operator.get("/admin/jobs/tenant/").text


def test_a_tenant_with_jobs_is_not_deleted(operator: Client, alice: Tenant) -> None:
    make_job(alice)
    Tenant.objects.update(is_active=False)
    assert _delete(operator, alice).status_code == 403


def test_a_tenant_that_may_still_submit_is_not_deleted(operator: Client, alice: Tenant) -> None:
    assert _delete(operator, alice).status_code == 403


def test_an_empty_tenant_is_deleted_with_its_keys(operator: Client, alice: Tenant) -> None:
    Lane.objects.create(tenant=alice, queue="default")
    create_api_key(alice, actor="command:test")
    Tenant.objects.update(is_active=False)
    assert _delete(operator, alice).status_code == 302
    assert not Tenant.objects.exists()
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.target) == ("delete_tenant", "alice")


@pytest.fixture
def lane(alice: Tenant) -> Lane:
    """A lane of Alice's."""
    return Lane.objects.create(tenant=alice, queue="mail")


def test_a_lanes_limits_are_changed_and_on_record(operator: Client, lane: Lane) -> None:
    operator.post(_address(lane), LANE | {"weight": "4", "starts_per_minute": "2"})
    lane.refresh_from_db()
    assert (lane.weight, lane.starts_per_minute, lane.is_paused) == (4, 2, False)
    assert AuditEntry.objects.get().details["after"] == {"weight": 4, "starts_per_minute": 2}


def test_a_lane_is_paused_on_its_page(operator: Client, lane: Lane) -> None:
    operator.post(_address(lane), LANE | {"is_paused": "on"})
    lane.refresh_from_db()
    assert lane.is_paused
    assert AuditEntry.objects.get().action == "pause"


def test_lanes_are_paused_and_resumed_behind_a_question(operator: Client, lane: Lane) -> None:
    for action, paused in (("pause", True), ("resume", False)):
        form = {"action": action, "_selected_action": [str(lane.pk)], "index": "0"}
        asked = operator.post("/admin/jobs/lane/", form)
        assert f"{action.capitalize()} 1 lane?" in asked.text
        operator.post(asked.context["action"], {"ids": asked.context["ids"]})
        lane.refresh_from_db()
        assert lane.is_paused is paused
        assert AuditEntry.objects.latest("pk").action == action


def test_a_lane_is_neither_made_nor_deleted(operator: Client, lane: Lane) -> None:
    assert operator.get("/admin/jobs/lane/add/").status_code == 403
    assert operator.get(f"/admin/jobs/lane/{lane.pk}/delete/").status_code == 403


def test_lanes_are_filtered(operator: Client, lane: Lane, mallory: Tenant) -> None:
    other = Lane.objects.create(tenant=mallory, queue="mail", is_paused=True)
    for filters in ("paused=True", "tenant=mallory"):
        rows = operator.get(f"/admin/jobs/lane/?{filters}").context["cl"].result_list
        assert list(rows) == [other]


def test_who_may_not_change_lanes_cannot_pause_them(
    staff: Callable[..., Client], lane: Lane
) -> None:
    client = staff("view_lane")
    assert client.post("/admin/jobs/lane/confirm/pause/", {"ids": str(lane.pk)}).status_code == 403
    assert client.post(_address(lane), LANE | {"is_paused": "on"}).status_code == 403
    lane.refresh_from_db()
    assert not lane.is_paused


def _change(client: Client, tenant: Tenant, **form: Any) -> None:
    answer = client.post(
        f"/admin/jobs/tenant/{tenant.pk}/change/", {"start_burst": "1"} | NO_MEMBERS | form
    )
    assert answer.status_code == 302, answer.context["errors"]


def _delete(client: Client, tenant: Tenant) -> Any:
    return client.post(f"/admin/jobs/tenant/{tenant.pk}/delete/", {"post": "yes"})


def _address(lane: Lane) -> str:
    return f"/admin/jobs/lane/{lane.pk}/change/"
