"""The pages of tenants: shares, limits and their use, noise, people, suspended and resumed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from dashboard.queries import counts, tenants
from jobs import services, store
from jobs.models import AuditEntry, Job, Lane, LaneMinute, Membership, Tenant
from jobs.statuses import Status
from tests.factories import make_job


def rows(client: Client, **query: str) -> list[Any]:
    return [row for row, *_ in client.get(reverse("tenants"), query).context["tenant_list"]["rows"]]


def slugs(client: Client, **query: str) -> list[str]:
    return [row.tenant.slug for row in rows(client, **query)]


def counted(
    tenant: Tenant,
    *,
    ago: timedelta = timedelta(minutes=30),
    now: datetime | None = None,
    **sums: float,
) -> None:
    """What was counted of the tenant's jobs some time ago.

    Who counts several minutes says once what is `now`, lest the clock turn over between them.
    """
    lane, _ = Lane.objects.get_or_create(tenant=tenant, queue="default")
    minute = ((now or timezone.now()) - ago).replace(second=0, microsecond=0)
    LaneMinute.objects.create(lane_id=lane.pk, tenant_id=tenant.pk, minute=minute, **sums)


@pytest.fixture
def steward(log_in: Callable[..., Client]) -> Client:
    """Staff who may change tenants."""
    client = log_in("stella", is_staff=True)
    permission = Permission.objects.get(codename="change_tenant")
    User.objects.get(username="stella").user_permissions.add(permission)
    return client


def test_a_member_sees_their_tenants_and_an_operator_all(
    ann: Client, operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    assert slugs(ann) == ["alice"]
    assert slugs(operator) == ["alice", "mallory"]
    assert "mallory" not in ann.get(reverse("tenant", args=["alice"])).text


def test_shares_are_told_as_they_are_due_and_as_they_were(
    operator: Client, make_tenant: Callable[..., Tenant]
) -> None:
    heavy, light = make_tenant("heavy", weight=3), make_tenant("light", weight=1)
    make_tenant("idle", weight=100)
    counted(heavy, run_seconds=10.0, started=10)
    counted(light, run_seconds=30.0, started=10)
    counted(light, run_seconds=1_000.0, started=1_000, ago=timedelta(hours=3))
    by_slug = {row.tenant.slug: row.share for row in rows(operator)}
    assert by_slug["heavy"] == (0.75, 0.25, 0.5)
    assert by_slug["light"] == (0.25, 0.75, 0.5)
    assert by_slug["idle"].run_time == 0


def test_who_holds_more_than_its_share_is_noisy_and_comes_first(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    counted(alice, run_seconds=10.0, started=1)
    counted(mallory, run_seconds=90.0, started=1)
    assert slugs(operator, sort="noise") == ["mallory", "alice"]
    assert slugs(operator, state="noisy") == ["mallory"]
    page = operator.get(reverse("tenant", args=["mallory"])).text
    assert "held 90% of the run time of the last hour; 50% is due" in page


def test_the_page_says_what_noisy_means(operator: Client, alice: Tenant) -> None:
    page = operator.get(reverse("tenants")).content.decode()
    assert "<b>Noisy</b> is who may slow others down" in page
    assert 'title="Disturbs others: by its run time, its backlog or its starts"' in page


def test_who_is_alone_is_no_noise(operator: Client, alice: Tenant) -> None:
    counted(alice, run_seconds=90.0, started=1)
    assert slugs(operator, state="noisy") == []


def test_a_backlog_that_rises_is_noise(
    operator: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "MANY", 3)
    for _ in range(3):
        make_job(alice)
    (row,) = rows(operator)
    assert row.noise == ["backlog rises: 3 jobs came in 5 minutes, 0 started"]


def test_starts_that_rise_are_noise(operator: Client, alice: Tenant) -> None:
    counted(alice, started=100, ago=timedelta(minutes=55))
    counted(alice, started=60, ago=timedelta(minutes=1))
    (row,) = rows(operator)
    assert row.noise == ["starts rose: 60 in 5 minutes, 10 before"]


@pytest.mark.parametrize("minutes", [1, 8, 20])
def test_who_has_just_begun_is_no_noise(
    operator: Client, alice: Tenant, mallory: Tenant, minutes: int
) -> None:
    now = timezone.now()
    for tenant in (alice, mallory):
        for ago in {1, *range(2, minutes)}:
            counted(tenant, started=60, run_seconds=9, ago=timedelta(minutes=ago), now=now)
    assert slugs(operator, state="noisy") == []


def test_who_begins_while_others_work_is_noise(
    operator: Client, alice: Tenant, mallory: Tenant
) -> None:
    counted(alice, started=1, ago=timedelta(minutes=55))
    counted(mallory, started=60, ago=timedelta(minutes=1))
    assert slugs(operator, state="noisy") == ["mallory"]


def test_use_is_told_of_today_and_of_30_days(operator: Client, alice: Tenant) -> None:
    counted(alice, done=1, failed=2, dead=3, started=6, ago=timedelta(0))
    counted(alice, done=10, started=10, ago=timedelta(days=20))
    counted(alice, done=100, started=100, ago=timedelta(days=40))
    ((_, today, month),) = operator.get(reverse("tenants")).context["tenant_list"]["rows"]
    assert today == (6, 1, 2, 3)
    assert month == (16, 11, 2, 3)
    page = operator.get(reverse("tenant", args=["alice"])).context["tenant"]
    assert page["month"]["done"] == 11
    assert [day["done"] for day in page["days"]] == [1, 10]


@pytest.mark.parametrize(("hour", "minute"), [(0, 2), (1, 4), (12, 30), (23, 59)])
def test_today_is_all_since_midnight_whatever_is_summed_already(
    alice: Tenant, hour: int, minute: int
) -> None:
    at = timezone.now().replace(hour=hour, minute=minute, second=0, microsecond=0)
    midnight = at.replace(hour=0, minute=0)
    for done, when in ((1_000, midnight - timedelta(minutes=1)), (1, midnight), (10, at)):
        counted(alice, done=done, ago=timezone.now() - when)
    for _ in range(2):
        assert tenants.used([alice.pk], at) == {alice.pk: (0, 11, 0, 0)}
        assert tenants.used([alice.pk], at, days=1) == {alice.pk: (0, 1_011, 0, 0)}
        store.sum_up(alice.pk)


def test_limits_are_told_with_their_use(ann: Client, make_tenant: Callable[..., Tenant]) -> None:
    alice = Tenant.objects.get(slug="alice")
    limits = {"max_running": 4, "max_pending": 9, "submissions_per_minute": 100}
    services.change_limits(alice, actor="user:olga", **limits)
    for status in (Status.RUNNING, Status.SCHEDULED, Status.PENDING):
        make_job(alice, status)
    shown = ann.get(reverse("tenant", args=["alice"])).context["tenant"]["limits"]
    used = {limit.name: (str(limit.used), limit.limit) for limit in shown}
    assert used["max running"] == ("1", 4)
    assert used["max pending"] == ("2", 9)
    assert used["submissions per minute"] == ("3", 100)


FORM = {
    **{"max_running": "", "starts_per_minute": "", "start_burst": "1"},
    **{"submissions_per_minute": "", "max_pending": ""},
}


def test_an_admin_lowers_the_limits_and_raises_them_again_as_far(
    ann: Client, alice: Tenant
) -> None:
    services.change_limits(alice, actor="user:olga", max_running=5)
    address = reverse("tenant-limits", args=["alice"])
    for wanted, status in (("3", 302), ("5", 302), ("6", 400), ("", 400)):
        answer = ann.post(address, FORM | {"max_running": wanted})
        assert answer.status_code == status
    alice.refresh_from_db()
    assert alice.max_running == 5
    assert "weight" not in ann.get(address).context["form"].fields


def test_the_operator_sets_limits_and_weight(steward: Client, alice: Tenant) -> None:
    address = reverse("tenant-limits", args=["alice"])
    steward.post(address, FORM | {"max_running": "50", "weight": "9"})
    alice.refresh_from_db()
    assert (alice.max_running, alice.weight) == (50, 9)
    assert AuditEntry.objects.get().details["after"] == {"max_running": 50, "weight": 9}


def test_a_tenant_is_suspended_behind_a_question_with_the_count(
    steward: Client, alice: Tenant
) -> None:
    make_job(alice, Status.RUNNING)
    for _ in range(2):
        make_job(alice)
    address = reverse("set-suspended", args=["alice", "suspend"])
    asked = steward.get(address).text
    assert '<b id="count">2</b> jobs that wait will not start' in asked
    assert "<b>1</b> running job goes on" in asked
    alice.refresh_from_db()
    assert alice.is_active
    steward.post(address)
    alice.refresh_from_db()
    assert not alice.is_active
    assert "suspended" in steward.get(reverse("queues")).text
    steward.post(reverse("set-suspended", args=["alice", "resume"]))
    alice.refresh_from_db()
    assert alice.is_active
    assert [entry.details["after"] for entry in AuditEntry.objects.order_by("pk")] == [
        {"is_active": False},
        {"is_active": True},
    ]


def test_an_admin_suspends_nothing(ann: Client, alice: Tenant) -> None:
    assert ann.post(reverse("set-suspended", args=["alice", "suspend"])).status_code == 403
    alice.refresh_from_db()
    assert alice.is_active
    assert "/suspend" not in ann.get(reverse("tenant", args=["alice"])).text


@pytest.fixture
def vera(viewer: Client) -> Membership:
    """The viewer's place."""
    return Membership.objects.get(user__username="vera")


def change(client: Client, member: Membership, **form: str) -> None:
    client.post(reverse("member", args=[member.tenant.slug, member.user_id]), form)
    member.refresh_from_db()


def test_an_admin_changes_what_a_member_may_do(
    ann: Client, viewer: Client, vera: Membership
) -> None:
    job = make_job(vera.tenant)
    cancel = reverse("act-on-job", args=[job.pk, "cancel"])
    assert viewer.get(cancel).status_code == 403
    change(ann, vera, role="operator", sees_payloads="on")
    assert (vera.role, vera.sees_payloads) == ("operator", True)
    assert viewer.get(cancel).status_code == 200
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target) == ("change_member", "vera")
    assert entry.details["before"] == {"role": "viewer", "sees_payloads": False}
    change(ann, vera, role="owner")
    assert vera.role == "operator"


def test_who_may_not_see_payloads_lets_nobody_see_them(
    log_in: Callable[..., Client], alice: Tenant, vera: Membership
) -> None:
    blind = log_in("ben", alice, role="admin", sees_payloads=False)
    change(blind, vera, role="operator", sees_payloads="on")
    assert (vera.role, vera.sees_payloads) == ("viewer", False)
    change(blind, vera, role="operator")
    assert (vera.role, vera.sees_payloads) == ("operator", False)


def test_nobody_changes_their_own_role(ann: Client, alice: Tenant) -> None:
    own = Membership.objects.get(user__username="ann")
    for name in ("member", "remove-member"):
        answer = ann.post(reverse(name, args=["alice", own.user_id]), {"role": "viewer"})
        assert answer.status_code == 403
    own.refresh_from_db()
    assert own.role == "admin"


def test_a_member_is_removed_behind_a_question(
    ann: Client, viewer: Client, vera: Membership
) -> None:
    address = reverse("remove-member", args=["alice", vera.user_id])
    assert "Yes, remove" in ann.get(address).text
    ann.post(address)
    assert not Membership.objects.filter(pk=vera.pk).exists()
    assert viewer.get(reverse("tenant", args=["alice"])).status_code == 404
    assert AuditEntry.objects.get().action == "remove_member"


def test_a_member_of_another_tenant_is_not_found(ann: Client, stranger: Client) -> None:
    other = Membership.objects.get(user__username="max")
    address = reverse("member", args=["alice", other.user_id])
    assert ann.post(address, {"role": "viewer"}).status_code == 404


def test_a_number_that_no_database_takes_is_no_member(ann: Client, alice: Tenant) -> None:
    assert ann.get(f"/tenants/alice/members/{'9' * 26}/remove").status_code == 404


def test_the_cost_does_not_grow_with_the_tenants(
    operator: Client, make_tenant: Callable[..., Tenant]
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(reverse("tenants")).status_code == 200
        return len(captured)

    make_job(make_tenant("t0"))
    cost()
    before = cost()
    for number in range(1, 5):
        make_job(make_tenant(f"t{number}"))
    assert cost() == before
    assert Job.objects.count() == 5


@pytest.mark.parametrize("sort", ["tenant", "share", "dead"])
def test_the_list_has_pages(
    operator: Client, make_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    monkeypatch.setattr(tenants, "PAGE", 2)
    for slug in ("alpha", "beta", "gamma"):
        make_tenant(slug)
    first = operator.get(reverse("tenants"), {"sort": sort})
    second = operator.get(reverse("tenants"), {"sort": sort, "page": "2"})
    shown = [one.context["tenant_list"]["rows"] for one in (first, second)]
    assert [[row.tenant.slug for row, *_ in rows] for rows in shown] == [
        ["alpha", "beta"],
        ["gamma"],
    ]
    assert f"?sort={sort}&amp;page=2" in first.text
    assert "3 to 3 of 3" in second.text


def test_no_others_than_those_shown_are_counted_where_names_decide(
    operator: Client, make_tenant: Callable[..., Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "PAGE", 1)
    for slug in ("beta", "alpha", "gamma"):
        make_job(make_tenant(slug), Status.DLQ)
    ids = dict(Tenant.objects.values_list("slug", "pk"))
    for query, counted in (({}, ["alpha"]), ({"sort": "dead"}, ["alpha", "beta", "gamma"])):
        with patch.object(counts, "dead_of", wraps=counts.dead_of) as dead_of:
            answer = operator.get(reverse("tenants"), query).context["tenant_list"]
        (asked,) = dead_of.call_args.args
        assert sorted(asked) == sorted(ids[slug] for slug in counted)
        assert [row.tenant.slug for row, *_ in answer["rows"]] == ["alpha"]
        assert (answer["page"].paginator.count, answer["total"]) == (3, 3)
