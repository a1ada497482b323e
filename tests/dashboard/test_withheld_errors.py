"""What errors say, and where they say it from, is for those who may read payloads."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from jobs.models import Job, Role, Tenant
from jobs.statuses import Status
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
