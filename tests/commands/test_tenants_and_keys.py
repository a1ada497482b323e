"""`manage.py tenants` and `manage.py apikeys`, as a shell sees them."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.keys import verify
from jobs.models import ApiKey, AuditEntry, Tenant

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def refusal(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return caught.value


def test_a_tenant_has_the_default_limits() -> None:
    tenant = run_json("tenants", "create", "acme")
    assert tenant == {
        "id": Tenant.objects.get().pk,
        "slug": "acme",
        "is_active": True,
        "max_running": 5,
        "submissions_per_minute": 10,
        "max_pending": None,
        "weight": 1,
    }
    assert AuditEntry.objects.get().actor == "command:tenants"


def test_limits_are_given_at_once() -> None:
    limits = ("--max-running", "none", "--submissions-per-minute", "60")
    more = ("--max-pending", "100", "--weight", "3")
    tenant = run_json("tenants", "create", "acme", *limits, *more)
    assert (tenant["max_running"], tenant["submissions_per_minute"]) == (None, 60)
    assert (tenant["max_pending"], tenant["weight"]) == (100, 3)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("acme",), "slug: Tenant with this Slug already exists."),
        (("Acme",), "slug: A slug is 1 to 63"),
        (("-a",), "required: SLUG"),
        (("ok", "--weight", "0"), "weight: "),
        (("ok", "--max-running", "0"), "neither a positive number nor 'none'"),
        (("ok", "--max-running", "many"), "neither a positive number nor 'none'"),
    ],
)
def test_what_cannot_be_is_refused_in_words(arguments: tuple[str, ...], text: str) -> None:
    run("tenants", "create", "acme")
    assert text in str(refusal("tenants", "create", *arguments))
    assert Tenant.objects.count() == 1


def test_set_changes_what_is_given_and_nothing_else() -> None:
    run("tenants", "create", "acme")
    tenant = run_json("tenants", "set", "acme", "--max-running", "none", "--inactive")
    assert (tenant["max_running"], tenant["submissions_per_minute"]) == (None, 10)
    assert tenant["is_active"] is False
    assert run_json("tenants", "set", "acme", "--active")["is_active"] is True


def test_set_refuses_what_is_wrong() -> None:
    run("tenants", "create", "acme")
    assert refusal("tenants", "set", "acme").returncode == 1
    assert refusal("tenants", "set", "nobody", "--weight", "2").returncode == 3
    error = refusal("tenants", "set", "acme", "--weight", "0")
    assert (error.returncode, str(error)[:7]) == (1, "weight:")


def test_tenants_are_listed() -> None:
    assert run("tenants", "list") == "No tenants."
    run("tenants", "create", "b")
    run("tenants", "create", "a")
    assert [line[:2] for line in run("tenants", "list").splitlines()] == ["a:", "b:"]
    assert [tenant["slug"] for tenant in run_json("tenants", "list")] == ["a", "b"]


def test_a_key_is_printed_once_and_works(alice: Tenant) -> None:
    made = run_json("apikeys", "create", "alice", "--name", "ci")
    assert {"key", "prefix", "tenant"} <= set(made)
    assert (made["tenant"], made["name"]) == ("alice", "ci")
    assert made["scopes"] == ["submit", "read", "work", "admin"]
    key = verify(made["key"])
    assert key is not None
    assert key.prefix == made["prefix"]
    assert "key" not in run_json("apikeys", "list")[0]
    secret = made["key"].split("_")[2]
    assert secret not in run("apikeys", "list", "alice")


def test_for_people_the_key_is_the_first_line(alice: Tenant) -> None:
    assert verify(run("apikeys", "create", "alice").splitlines()[0]) is not None


def test_a_key_may_do_less_and_expire(alice: Tenant) -> None:
    made = run_json("apikeys", "create", "alice", "--scopes", "read", "--expires-days", "7")
    assert made["scopes"] == ["read"]
    assert made["expires_at"] > made["created_at"]


def test_keys_are_refused_in_words(alice: Tenant) -> None:
    assert refusal("apikeys", "create", "nobody").returncode == 3
    assert "not root" in str(refusal("apikeys", "create", "alice", "--scopes", "root"))
    assert refusal("apikeys", "create", "alice", "--expires-days", "0").returncode == 1
    assert refusal("apikeys", "revoke", "nothing").returncode == 3
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_by_prefix_or_by_itself(alice: Tenant) -> None:
    for form in ("prefix", "key"):
        made = run_json("apikeys", "create", "alice")
        assert run_json("apikeys", "revoke", made[form])["revoked_at"]
        assert verify(made["key"]) is None


def test_keys_are_listed_by_tenant(alice: Tenant, mallory: Tenant) -> None:
    assert run("apikeys", "list") == "No keys."
    run("apikeys", "create", "alice")
    run("apikeys", "create", "mallory")
    assert len(run_json("apikeys", "list")) == 2
    assert [key["tenant"] for key in run_json("apikeys", "list", "mallory")] == ["mallory"]
