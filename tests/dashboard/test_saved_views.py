"""Views of the list of jobs that people keep by a name."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from jobs import saved_views
from jobs.models import Role, SavedView, Tenant

pytestmark = pytest.mark.django_db


def save(client: Client, name: str, filter_text: str, tenant: str = "", **form: str) -> Any:
    place = f"?tenant={tenant}" if tenant else ""
    return client.post(reverse("save-view") + place, {"name": name, "filter": filter_text, **form})


def shown(client: Client, **query: str) -> list[str]:
    return [one.view.name for one in client.get(reverse("jobs"), query).context["jobs"]["views"]]


def test_a_view_is_a_link_to_its_filter(ann: Client, alice: Tenant) -> None:
    response = save(ann, "Lost mail", "queue:mail status:DLQ")
    assert response["Location"] == "/jobs/?filter=queue:mail+status:DLQ&tenant=alice"
    page = ann.get(response["Location"]).content.decode()
    assert "Saved as “Lost mail”." in page
    assert 'aria-current="page" title="queue:mail status:DLQ"' in page
    assert "Save this view" in page


def test_the_same_name_replaces_the_filter(ann: Client, alice: Tenant) -> None:
    save(ann, "mine", "queue:a")
    save(ann, "mine", "queue:b")
    assert SavedView.objects.get().filter == "queue:b"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("", "queue:a", "needs a name"),
        ("x" * 61, "queue:a", "up to 60"),
        ("x", "quue:a", "did you mean queue?"),
        ("x", "", "filter"),
    ],
)
def test_what_cannot_be_kept_is_told(
    ann: Client, alice: Tenant, name: str, text: str, why: str
) -> None:
    response = save(ann, name, text)
    (message,) = get_messages(response.wsgi_request)
    assert why in str(message)
    assert not SavedView.objects.exists()


def test_a_user_has_so_many_views(
    ann: Client, alice: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_views, "MAX_VIEWS", 1)
    save(ann, "one", "queue:a")
    save(ann, "two", "queue:a")
    assert shown(ann) == ["one"]


def test_a_shared_view_is_there_for_the_tenants_people_alone(
    ann: Client, stranger: Client, alice: Tenant, log_in: Callable[..., Client]
) -> None:
    save(ann, "private", "queue:a")
    save(ann, "shared", "queue:b", shared="on")
    bob = log_in("bob", alice, role=Role.VIEWER)
    assert shown(bob) == ["shared"]
    assert shown(stranger) == []
    assert shown(ann) == ["private", "shared"]


def test_a_view_of_all_tenants_cannot_be_shared(operator: Client, alice: Tenant) -> None:
    save(operator, "of all", "queue:a", shared="on")
    assert not SavedView.objects.exists()
    save(operator, "of all", "queue:a")
    save(operator, "of alice", "queue:a", tenant="alice")
    assert shown(operator) == ["of alice", "of all"]
    assert shown(operator, tenant="alice") == ["of alice", "of all"]


def test_a_view_is_deleted_by_its_owner_after_a_question(
    ann: Client, alice: Tenant, log_in: Callable[..., Client]
) -> None:
    save(ann, "mine", "queue:a", shared="on")
    address = reverse("delete-view", args=[SavedView.objects.get().pk])
    assert log_in("bob", alice).post(address).status_code == 404
    assert "Delete the view “mine”?" in ann.get(address).content.decode()
    assert SavedView.objects.exists()
    assert ann.post(address)["Location"] == "/jobs/?filter=queue:a&tenant=alice"
    assert not SavedView.objects.exists()


def test_nobody_sees_the_views_of_a_tenant_they_have_left(ann: Client, alice: Tenant) -> None:
    save(ann, "mine", "queue:a")
    assert list(saved_views.visible_views(SavedView.objects.get().user, [])) == []


def test_a_number_that_no_database_takes_is_no_view(ann: Client, alice: Tenant) -> None:
    assert ann.get(f"/jobs/views/{'9' * 26}/delete").status_code == 404


def test_views_of_one_name_say_whose_they_are(
    ann: Client, alice: Tenant, log_in: Callable[..., Client]
) -> None:
    bob = log_in("bob", alice)
    save(ann, "vac", "queue:a", tenant="alice", shared="on")
    assert "shared by ann</small>" not in bob.get(reverse("jobs")).text
    save(bob, "vac", "queue:b", tenant="alice", shared="on")
    assert "shared by ann</small>" in bob.get(reverse("jobs")).text
    assert "shared by bob</small>" in ann.get(reverse("jobs")).text
