"""A tenant keeps an admin, whoever is at it at the same time; staff may take the last one away."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobs.errors import StatusConflict
from jobs.members import change_membership, remove_member
from jobs.models import AuditEntry, Membership, Role, Tenant

VIEWER = {"role": Role.VIEWER, "sees_payloads": True}


@pytest.fixture
def ann_there(log_in: Callable[..., Client], alice: Tenant) -> Membership:
    """The place of the tenant's only admin."""
    log_in("ann", alice)
    log_in("vera", alice, role=Role.VIEWER)
    return Membership.objects.get(user__username="ann")


def test_the_last_admin_stays_one(ann_there: Membership) -> None:
    with pytest.raises(StatusConflict, match="last admin"):
        change_membership(ann_there, **VIEWER, actor="user:bob")
    with pytest.raises(StatusConflict, match="last admin"):
        remove_member(ann_there, actor="user:bob")
    assert Membership.objects.get(pk=ann_there.pk).role == Role.ADMIN
    assert not AuditEntry.objects.exists()


def test_what_was_read_before_does_not_decide(
    log_in: Callable[..., Client], ann_there: Membership, alice: Tenant
) -> None:
    log_in("bob", alice)
    bob_there = Membership.objects.get(user__username="bob")
    change_membership(bob_there, **VIEWER, actor="user:ann")
    bob_there.role = Role.ADMIN
    with pytest.raises(StatusConflict):
        change_membership(ann_there, **VIEWER, actor="user:bob")


def test_removing_twice_is_on_record_once(ann_there: Membership) -> None:
    first, second = (Membership.objects.get(user__username="vera") for _ in range(2))
    remove_member(first, actor="user:ann")
    remove_member(second, actor="user:ann")
    assert AuditEntry.objects.get().action == "remove_member"


def test_staff_take_the_last_admin_away(ann_there: Membership) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    client.post(reverse("remove-member", args=["alice", ann_there.user_id]))
    assert not Membership.objects.filter(pk=ann_there.pk).exists()
