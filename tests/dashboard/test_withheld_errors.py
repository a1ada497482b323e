"""What errors say, and where they say it from, is for those who may read payloads."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs.job_filters import without_messages
from jobs.models import AuditEntry, Job, Operation, Role, Tenant
from jobs.operations import start
from jobs.saved_views import save_view
from jobs.statuses import BulkAction, Status
from tests.factories import make_job

SAYS, TRACE = "card 4111 declined", "pay(card=4111)"
FILTERS = ("error:4111", "-error:4111", 'message:"card # declined"', "declined", "-declined")


@pytest.fixture
def dead(alice: Tenant) -> Job:
    """A dead letter whose error tells of its payload."""
    make_job(alice, Status.DLQ, error_type="CardError", error_message="card lost")
    return make_job(alice, Status.DLQ, error_type="CardError", error_message=SAYS, traceback=TRACE)


@pytest.fixture
def acting(log_in: Callable[..., Client], alice: Tenant) -> Client:
    """An operator of Alice's tenant who may not see payloads."""
    return log_in("otto", alice, role=Role.OPERATOR, sees_payloads=False)


@pytest.mark.parametrize("name", ["job", "jobs", "dead"])
def test_the_type_is_for_all_and_the_rest_is_not(
    ann: Client, viewer: Client, dead: Job, name: str
) -> None:
    address = reverse(name, args=[dead.pk] if name == "job" else [])

    assert SAYS in ann.get(address).text
    page = viewer.get(address).text
    assert "CardError" in page
    assert "4111" not in page
    assert "declined" not in page


def test_dead_letters_are_grouped_by_what_may_be_seen(acting: Client, dead: Job) -> None:
    ((group, count),) = acting.get(reverse("dead")).context["dead"]["groups"].largest
    asked = acting.get(reverse("start-operation"), {"action": "discard", "filter": group.filter})

    assert (group.kind, group.message, str(count)) == (None, "", "2")
    assert str(asked.context["count"]) == "2"
    assert "CardError" in asked.text
    assert "declined" not in asked.text


@pytest.mark.parametrize("wanted", FILTERS)
def test_no_filter_finds_out_what_is_withheld(
    ann: Client, acting: Client, dead: Job, wanted: str
) -> None:
    listed = acting.get(reverse("jobs"), {"filter": wanted})
    question = {"action": "redrive", "filter": f"status:DLQ {wanted}"}
    asked = acting.get(reverse("start-operation"), question)

    assert "needs the right to see payloads" in listed.text
    assert not listed.context["jobs"]["page"].rows
    assert asked.status_code == 400
    assert acting.post(reverse("start-operation"), question).status_code == 400
    assert ann.get(reverse("jobs"), {"filter": wanted}).context["jobs"]["page"].rows


def test_other_filters_are_for_all(viewer: Client, dead: Job) -> None:
    for wanted in ("error_type:CardError", str(dead.pk), f"id:{dead.pk}"):
        assert dead in viewer.get(reverse("jobs"), {"filter": wanted}).context["jobs"]["page"].rows


ASKED = f'queue:default -message:"{SAYS}",lost error_type:CardError "{SAYS}"'
TOLD = "queue:default -message:… error_type:CardError …"


@pytest.fixture
def begun(alice: Tenant, dead: Job) -> Operation:
    """A bulk action on dead letters that say something."""
    return start(alice, BulkAction.REDRIVE, ASKED, actor="user:ann")


def test_a_filter_is_told_without_what_errors_say() -> None:
    assert without_messages(ASKED) == TOLD
    assert without_messages("queue:a,b -tag:c created:>2h") == "queue:a,b -tag:c created:>2h"
    assert without_messages("01a204f6") == "01a204f6"
    assert without_messages(f'queue:a message:"{SAYS}') == "…"  # the beginning of a longer one


@pytest.mark.parametrize("name", ["operations", "operation", "audit"])
def test_the_filters_of_others_tell_nobody_what_errors_say(
    ann: Client, log_in: Callable[..., Client], alice: Tenant, begun: Operation, name: str
) -> None:
    address = reverse(name, args=[begun.pk] if name == "operation" else [])
    page = log_in("adam", alice, sees_payloads=False).get(address).text

    assert "4111" in ann.get(address).text
    assert "error_type:CardError" in page
    assert "4111" not in page


def test_a_shared_view_that_says_what_errors_say_is_for_those_who_may_know(
    ann: Client, viewer: Client, alice: Tenant
) -> None:
    user = User.objects.get(username="ann")
    save_view(user, alice, "Declined", f'message:"{SAYS}"', is_shared=True)
    save_view(user, alice, "Mails", "queue:mail   task:a ", is_shared=True)

    assert "Declined" in ann.get(reverse("jobs")).text
    page = viewer.get(reverse("jobs")).text
    assert "Mails" in page
    assert "Declined" not in page
    assert "4111" not in page


def test_staff_without_the_right_read_the_audit_log_without_what_errors_say(
    log_in: Callable[..., Client], begun: Operation
) -> None:
    staff = log_in("sam", is_staff=True)
    sam = User.objects.get(username="sam")
    sam.user_permissions.set(Permission.objects.filter(codename="view_auditentry"))
    entry = AuditEntry.objects.get(action="start_operation")
    address = reverse("admin:jobs_auditentry_change", args=[entry.pk])

    page = staff.get(address).text
    assert "error_type:CardError" in page
    assert "4111" not in page
    sam.user_permissions.add(Permission.objects.get(codename="view_payload"))
    assert "4111" in staff.get(address).text
