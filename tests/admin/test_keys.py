"""An API key's text is in one answer, and nowhere else."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from jobs.keys import create_api_key, verify
from jobs.models import ApiKey, AuditEntry, Tenant

ADD = "/admin/jobs/apikey/add/"
TEXT = re.compile(r"jq_[0-9A-Za-z]{8}_[0-9A-Za-z]{40,}")


def test_a_key_is_shown_once_and_works(operator: Client, alice: Tenant) -> None:
    page = _add(operator, alice)
    text = TEXT.search(page.text)[0]
    key = verify(text)
    assert (key.tenant, key.name, key.scopes) == (alice, "ci", ["submit", "read"])
    assert "no-store" in page["Cache-Control"]
    assert AuditEntry.objects.get().action == "create_api_key"


def test_the_text_is_nowhere_afterwards(operator: Client, alice: Tenant) -> None:
    secret = TEXT.search(_add(operator, alice).text)[0].split("_")[2]
    key = ApiKey.objects.get()
    for address in ("", f"{key.pk}/change/", f"{key.pk}/history/"):
        assert secret not in operator.get(f"/admin/jobs/apikey/{address}").text
    stored = [str(session.get_decoded()) for session in Session.objects.all()]
    stored += [str(vars(row)) for model in (LogEntry, AuditEntry) for row in model.objects.all()]
    assert not [text for text in stored if secret in text]
    assert not [text for text in operator.cookies.values() if secret in str(text)]


def test_a_key_can_be_limited_to_queues(operator: Client, alice: Tenant) -> None:
    _add(operator, alice, queues=" mail, hooks ,")
    key = ApiKey.objects.get()
    assert key.queues == ["hooks", "mail"]
    assert "hooks, mail" in operator.get(f"/admin/jobs/apikey/{key.pk}/change/").text
    assert _add(operator, alice, queues="no name").context["errors"]
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize("scopes", [[], ["everything"]])
def test_a_key_has_known_scopes(operator: Client, alice: Tenant, scopes: list[str]) -> None:
    page = _add(operator, alice, scopes=scopes)
    assert page.context["errors"]
    assert not ApiKey.objects.exists()


def test_scopes_are_checkboxes(operator: Client, db: None) -> None:
    assert operator.get(ADD).text.count('type="checkbox"') == 4


def test_a_key_is_never_edited_or_deleted(operator: Client, alice: Tenant) -> None:
    key, _ = create_api_key(alice, actor="command:test")
    page = f"/admin/jobs/apikey/{key.pk}"
    assert operator.post(f"{page}/change/", {"name": "x"}).status_code == 403
    assert operator.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    shown = operator.get(f"{page}/change/").text
    assert key.prefix in shown
    assert key.secret_hash not in shown


def test_revoking_asks_then_acts_and_is_on_record(operator: Client, alice: Tenant) -> None:
    key, text = create_api_key(alice, actor="command:test")
    form = {"action": "revoke", "_selected_action": [str(key.pk)], "index": "0"}
    asked = operator.post("/admin/jobs/apikey/", form)
    assert "Revoke 1 api key?" in asked.text.replace("API", "api")
    assert verify(text)
    operator.post(asked.context["action"], {"ids": asked.context["ids"]})
    assert verify(text) is None
    entry = AuditEntry.objects.latest("pk")
    assert (entry.actor, entry.action) == ("user:olga", "revoke_api_key")


def test_the_list_shows_the_state(operator: Client, alice: Tenant) -> None:
    create_api_key(alice, actor="command:test")
    create_api_key(alice, actor="command:test", expires_at=timezone.now() - timedelta(days=1))
    ApiKey.objects.create(tenant=alice, prefix="old", revoked_at=timezone.now())
    page = operator.get("/admin/jobs/apikey/").text
    for state in ("valid", "expired", "revoked"):
        assert f'<td class="field-state">{state}</td>' in page


def test_who_may_only_look_cannot_make_or_revoke(
    staff: Callable[..., Client], alice: Tenant
) -> None:
    key, text = create_api_key(alice, actor="command:test")
    client = staff("view_apikey")
    assert _add(client, alice).status_code == 403
    address = "/admin/jobs/apikey/confirm/revoke/"
    assert client.post(address, {"ids": str(key.pk)}).status_code == 403
    assert verify(text)


def _add(client: Client, tenant: Tenant, **changes: Any) -> Any:
    form = {"tenant": str(tenant.pk), "name": "ci", "scopes": ["read", "submit"]}
    return client.post(ADD, form | changes)
