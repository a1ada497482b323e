"""`manage.py tenants` and `manage.py apikeys`, as a shell sees them."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jobs.keys import verify
from jobs.models import ApiKey, AuditEntry, Lane, Tenant
from tests.factories import make_job

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
        "starts_per_minute": None,
        "start_burst": 1,
        "submissions_per_minute": 10,
        "max_pending": None,
        "weight": 1,
        "keep_finished_days": None,
        "keep_dead_days": None,
    }
    assert AuditEntry.objects.get().actor == "command:tenants"


def test_limits_are_given_at_once() -> None:
    limits = ("--max-running", "none", "--submissions-per-minute", "60")
    more = ("--max-pending", "100", "--weight", "3", "--starts-per-minute", "30")
    kept = ("--keep-finished-days", "30", "--keep-dead-days", "90")
    tenant = run_json("tenants", "create", "acme", *limits, *more, *kept, "--start-burst", "4")
    assert (tenant["max_running"], tenant["submissions_per_minute"]) == (None, 60)
    assert (tenant["max_pending"], tenant["weight"]) == (100, 3)
    assert (tenant["starts_per_minute"], tenant["start_burst"]) == (30, 4)
    assert (tenant["keep_finished_days"], tenant["keep_dead_days"]) == (30, 90)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("acme",), "slug: Tenant with this Slug already exists."),
        (("Acme",), "slug: A slug is 1 to 63"),
        (("-a",), "required: SLUG"),
        (("ok", "--weight", "0"), "weight: "),
        (("ok", "--start-burst", "0"), "start_burst: "),
        (("ok", "--starts-per-minute", "0"), "neither a positive number nor 'none'"),
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


def test_the_limits_of_a_queue_are_changed_and_listed(alice: Tenant) -> None:
    assert run("tenants", "limits") == "No limits."
    make_job(alice, queue="mail")
    limits = ("--max-running", "3", "--starts-per-minute", "60", "--start-burst", "5")
    shown = run_json("tenants", "limit-queue", "alice", "mail", *limits)
    assert (shown["tenant"], shown["queue"], shown["task"]) == ("alice", "mail", None)
    run("tenants", "limit-queue", "alice", "mail", "--max-running", "none", "--weight", "2")
    lane = Lane.objects.get()
    assert (lane.max_running, lane.starts_per_minute, lane.start_burst) == (None, 60, 5)
    assert run("tenants", "limits").startswith("alice, queue mail: max_running=none, ")


def test_the_limits_of_tasks_are_changed_listed_and_lifted(alice: Tenant) -> None:
    made = run_json("tenants", "limit-task", "echo", "--tenant", "alice", "--max-running", "2")
    assert made == {
        "tenant": "alice",
        "queue": None,
        "task": "echo",
        "max_running": 2,
        "starts_per_minute": None,
        "start_burst": 1,
    }
    shared = ("limit-task", "echo", "--all")
    run("tenants", *shared, "--starts-per-minute", "600", "--start-burst", "10")
    run("tenants", *shared, "--max-running", "7")
    assert set(run("tenants", "limits").splitlines()) == {
        "alice, task echo: max_running=2, starts_per_minute=none, start_burst=1",
        "all tenants together, task echo: max_running=7, starts_per_minute=600, start_burst=10",
    }
    run("tenants", *shared, "--remove")
    assert run_json("tenants", "limits") == [made]
    assert [entry.action for entry in AuditEntry.objects.all()] == [
        *("unlimit_task", "limit_task", "limit_task", "limit_task")
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("limit-queue", "alice", "mail", "--weight", "2"), 3, "no queue 'mail'"),
        (("limit-queue", "nobody", "mail", "--weight", "2"), 3, "no tenant 'nobody'"),
        (("limit-task", "echo", "--max-running", "2"), 1, "--tenant --all"),
        (("limit-task", "echo", "--all"), 1, "--remove"),
        (("limit-task", "echo", "--all", "--remove"), 3, "no limit"),
        (("limit-task", "echo", "--all", "--remove", "--max-running", "2"), 1, "--remove"),
        (("limit-task", "echo", "--all", "--start-burst", "2"), 1, "max_running or starts"),
        (("limit-task", "echo", "--all", "--max-running", "x"), 1, "positive number"),
        (("limit-task", "e o", "--all", "--max-running", "1"), 1, "task: A name is"),
        (
            ("limit-task", "echo", "--all", "--max-running", "1", "--start-burst", "0"),
            *(1, "start_burst: "),
        ),
    ],
)
def test_limits_that_cannot_be_are_refused_in_words(
    alice: Tenant, arguments: tuple[str, ...], code: int, text: str
) -> None:
    error = refusal("tenants", *arguments)
    assert (error.returncode, text in str(error)) == (code, True), str(error)
    assert not AuditEntry.objects.exists()


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
    assert refusal("apikeys", "rotate", "nothing").returncode == 3
    assert refusal("apikeys", "create", "alice", "--queues", "a b").returncode == 1
    assert "100 characters" in str(refusal("apikeys", "create", "alice", "--name", "n" * 101))
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


def test_a_key_is_rotated_with_an_overlap(alice: Tenant) -> None:
    old = run_json("apikeys", "create", "alice", "--queues", "mail,hooks", "--scopes", "read")
    new = run_json("apikeys", "rotate", old["prefix"], "--overlap-hours", "2")
    assert (new["queues"], new["scopes"]) == (["hooks", "mail"], ["read"])
    assert verify(old["key"]) is not None
    assert verify(new["key"]) is not None
    run("apikeys", "rotate", new["prefix"], "--overlap-hours", "0")
    assert verify(new["key"]) is None
    assert refusal("apikeys", "rotate", new["prefix"]).returncode == 1
    assert refusal("apikeys", "rotate", old["prefix"], "--overlap-hours", "999").returncode == 1
