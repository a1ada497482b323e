"""Keys are made, shown once, rotated and revoked on pages, by admins alone, and it is on record."""

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs.keys import create_api_key, is_valid_now, verify
from jobs.models import ApiKey, AuditEntry, Role, Tenant

TEXT = re.compile(r"jq_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}")


def _key(tenant: Tenant, **fields: object) -> tuple[ApiKey, str]:
    return create_api_key(tenant, actor="command:test", **fields)


def _form(tenant: Tenant, **fields: object) -> dict[str, object]:
    return {"tenant": tenant.slug, "name": "ci", "scopes": ["submit", "read"]} | fields


def test_a_key_is_made_and_its_text_is_in_that_answer_alone(ann: Client, alice: Tenant) -> None:
    made = ann.post(reverse("new-key"), _form(alice, queues="mail, hooks", expires_days="30"))
    (text,) = set(TEXT.findall(made.text))
    key = verify(text)

    assert key is not None
    assert (key.tenant, key.scopes, key.queues) == (alice, ["submit", "read"], ["hooks", "mail"])
    assert key.expires_at is not None
    assert "no-store" in made["Cache-Control"]
    listed = ann.get(reverse("keys")).text
    assert str(key.prefix) in listed
    assert not TEXT.search(listed)
    assert text not in str(list(AuditEntry.objects.values_list("details", flat=True)))
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.tenant) == ("user:ann", "create_api_key", alice)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", []),
        ("scopes", ["everything"]),
        ("queues", "no such, name!"),
        ("expires_days", "0"),
        ("tenant", "mallory"),
        ("name", "x" * 101),
    ],
)
def test_what_cannot_be_a_key_is_told(
    ann: Client, alice: Tenant, mallory: Tenant, field: str, value: object
) -> None:
    answer = ann.post(reverse("new-key"), _form(alice) | {field: value})

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert not ApiKey.objects.exists()


def test_a_rotated_key_goes_on_for_the_overlap(ann: Client, alice: Tenant) -> None:
    old, old_text = _key(alice, scopes=["read"])

    assert str(old) in ann.get(reverse("rotate-key", args=[old.prefix])).text
    made = ann.post(reverse("rotate-key", args=[old.prefix]), {"overlap": "3600"})
    new_text = next(text for text in TEXT.findall(made.text) if text != old_text)

    old.refresh_from_db()
    new = verify(new_text)
    assert new is not None
    assert new.scopes == ["read"]
    assert is_valid_now(old)
    assert old.expires_at is not None
    assert AuditEntry.objects.latest("pk").action == "rotate_api_key"


def test_without_an_overlap_the_old_key_ends(ann: Client, alice: Tenant) -> None:
    old, text = _key(alice)

    ann.post(reverse("rotate-key", args=[old.prefix]), {"overlap": "0"})

    assert verify(text) is None


def test_a_key_is_revoked_after_a_question(ann: Client, alice: Tenant) -> None:
    key, text = _key(alice)
    page = reverse("revoke-key", args=[key.prefix])

    assert "cannot be undone" in ann.get(page).text
    assert verify(text) is not None
    answer = ann.post(page, follow=True)

    assert verify(text) is None
    assert "is revoked" in answer.text
    entry = AuditEntry.objects.latest("pk")
    assert (entry.actor, entry.action) == ("user:ann", "revoke_api_key")


@pytest.mark.parametrize("scope", ["read", "work", "admin"])
def test_who_may_not_see_payloads_gets_no_key_that_reads_them(
    log_in: Callable[..., Client], alice: Tenant, mallory: Tenant, scope: str
) -> None:
    eve = log_in("eve", alice, sees_payloads=False)
    own = {"role": Role.ADMIN, "sees_payloads": True}
    of_both = log_in("otto", alice, sees_payloads=False)
    mallory.members.add(User.objects.get(username="otto"), through_defaults=own)
    old, text = _key(alice, scopes=[scope])

    for client in (eve, of_both):
        refused = client.post(reverse("new-key"), _form(alice, scopes=["submit", scope]))
        assert refused.status_code == 400
        assert 'role="alert"' in refused.text
        page = reverse("rotate-key", args=[old.prefix])
        assert client.post(page, {"overlap": "0"}).status_code == 403
        assert page not in client.get(reverse("keys")).text
    assert "read payloads" in eve.get(reverse("new-key")).text
    assert verify(text) is not None
    assert ApiKey.objects.count() == 1
    assert eve.post(reverse("new-key"), _form(alice, scopes=["submit"])).status_code == 200
    assert of_both.post(reverse("new-key"), _form(mallory, scopes=[scope])).status_code == 200


def test_a_revoked_key_cannot_be_rotated(ann: Client, alice: Tenant) -> None:
    key, _ = _key(alice)
    ann.post(reverse("revoke-key", args=[key.prefix]))

    answer = ann.post(reverse("rotate-key", args=[key.prefix]), {"overlap": "0"})

    assert answer.status_code == 400
    assert ApiKey.objects.count() == 1


def test_the_list_has_those_that_work_or_all(ann: Client, alice: Tenant) -> None:
    working, gone = _key(alice)[0], _key(alice)[0]
    ann.post(reverse("revoke-key", args=[gone.prefix]))

    few = ann.get(reverse("keys"), {"partial": "apikeys"}).text
    every = ann.get(reverse("keys"), {"partial": "apikeys", "state": "all"}).text

    assert f'id="key-{working.prefix}"' in few
    assert f'id="key-{gone.prefix}"' not in few
    assert f'id="key-{gone.prefix}"' in every


def test_the_list_has_pages(ann: Client, alice: Tenant) -> None:
    oldest, _ = _key(alice)
    for _ in range(50):
        _key(alice)

    first = ann.get(reverse("keys"))
    before = first.context["apikeys"]["page"].before
    second = ann.get(reverse("keys"), {"before": before})

    assert f'id="key-{oldest.prefix}"' not in first.text
    assert f'id="key-{oldest.prefix}"' in second.text


@pytest.mark.parametrize("name", ["rotate-key", "revoke-key"])
def test_a_strangers_key_is_as_absent_as_any(stranger: Client, alice: Tenant, name: str) -> None:
    key, text = _key(alice)
    known = reverse(name, args=[key.prefix])
    unknown = reverse(name, args=["00000000"])

    for method in (stranger.get, stranger.post):
        assert method(known).status_code == method(unknown).status_code == 404
    assert verify(text) is not None
    assert str(key.prefix) not in stranger.get(reverse("keys"), {"state": "all"}).text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_keys_are_for_admins(
    log_in: Callable[..., Client], alice: Tenant, mallory: Tenant, role: str
) -> None:
    client = log_in("vic", alice, role=role)
    key, _ = _key(alice)
    pages = [reverse("keys"), reverse("new-key"), reverse("revoke-key", args=[key.prefix])]

    assert [client.get(page).status_code for page in pages] == [403] * 3
    assert client.post(reverse("new-key"), _form(alice)).status_code == 403
    assert reverse("keys") not in client.get(reverse("overview")).text


def test_staff_need_the_permission(operator: Client, alice: Tenant, mallory: Tenant) -> None:
    _key(alice)
    assert operator.get(reverse("keys")).status_code == 403

    permission = Permission.objects.get(codename="change_tenant")
    User.objects.get(username="olga").user_permissions.add(permission)

    assert operator.get(reverse("keys")).text.count('id="key-') == 1
    assert operator.get(reverse("keys"), {"tenant": "mallory"}).text.count('id="key-') == 0
