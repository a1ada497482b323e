"""Who may log in and do what changes in the admin, and is in the audit log."""

from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from jobs.models import AuditEntry, Membership, Role, Tenant
from tests.audit_log import last_entry, new_entry

ME, HERE = "user:olga", "127.0.0.1"
NEW = {"username": "bob", "usable_password": "false"}


def bob(**rights: Any) -> User:
    return User.objects.create_user("bob", **rights)


def form_of(user: User, **changes: Any) -> dict[str, Any]:
    joined = f"{user.date_joined:%Y-%m-%d}", f"{user.date_joined:%H:%M:%S}"
    given = {"username": user.username, "date_joined_0": joined[0], "date_joined_1": joined[1]}
    return given | {"is_active": "on"} | changes


def test_a_user_is_made(operator: Client) -> None:
    last = last_entry()
    assert operator.post("/admin/auth/user/add/", NEW).status_code == 302
    entry = new_entry("create_user", actor=ME, address=HERE, after=last)
    assert (entry.target, entry.details["after"]["is_staff"]) == ("bob", False)


def test_what_a_user_may_do_is_told_before_and_after(operator: Client) -> None:
    user, group = bob(), Group.objects.create(name="lookers")
    sees = Permission.objects.get(codename="view_payload")
    rights = {"is_staff": "on", "groups": [group.pk], "user_permissions": [sees.pk]}
    page = operator.post(f"/admin/auth/user/{user.pk}/change/", form_of(user, **rights))
    assert page.status_code == 302, page.context["errors"]
    entry = new_entry("change_user", actor=ME, address=HERE, after=0)
    before, after = entry.details["before"], entry.details["after"]
    assert (before["is_staff"], before["groups"], before["permissions"]) == (False, [], [])
    assert (after["is_staff"], after["groups"]) == (True, ["lookers"])
    assert after["permissions"] == ["jobs.view_payload"]


def test_another_password_is_told_and_not_shown(operator: Client) -> None:
    user = bob()
    secret = "kitten-under-the-piano"
    form = {"password1": secret, "password2": secret, "usable_password": "true"}
    address = f"/admin/auth/user/{user.pk}/password/"
    assert operator.post(address, form | {"password2": "other"}).status_code == 200
    assert not AuditEntry.objects.exists()
    assert operator.post(address, form).status_code == 302
    entry = new_entry("change_user", actor=ME, address=HERE, after=0)
    assert (entry.target, entry.details) == ("bob", {"changed": ["password"]})


def test_groups_are_made_and_changed(operator: Client) -> None:
    operator.post("/admin/auth/group/add/", {"name": "lookers"})
    made = new_entry("create_group", actor=ME, address=HERE, after=0)
    group = Group.objects.get()
    sees = Permission.objects.get(codename="view_payload")
    form = {"name": "readers", "permissions": [sees.pk]}
    operator.post(f"/admin/auth/group/{group.pk}/change/", form)
    changed = new_entry("change_group", actor=ME, address=HERE, after=made.pk)
    assert changed.details == {
        "before": {"name": "lookers", "permissions": []},
        "after": {"name": "readers", "permissions": ["jobs.view_payload"]},
    }


def test_who_is_deleted_is_told_with_what_they_could(operator: Client, alice: Tenant) -> None:
    user, group = bob(is_staff=True), Group.objects.create(name="lookers")
    Membership.objects.create(tenant=alice, user=user, role=Role.ADMIN)
    operator.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
    gone = new_entry("delete_user", actor=ME, address=HERE, after=0)
    before = gone.details["before"]
    assert (before["is_staff"], before["tenants"]) == (True, {"alice": "admin"})
    chosen = {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"}
    operator.post("/admin/auth/group/", chosen)
    entry = new_entry("delete_group", actor=ME, address=HERE, after=gone.pk)
    assert entry.target == "lookers"
    assert not Group.objects.exists()
    assert not User.objects.filter(username="bob").exists()
