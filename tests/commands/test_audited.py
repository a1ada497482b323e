"""Whatever an operator changes by a command is in the audit log, with what it has to tell.

The table is compared with the verbs that there are: one that is in neither half fails.
"""

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Mapping
from importlib import import_module
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from jobs import services, tenant_keys
from jobs.keys import create_api_key
from jobs.models import Tenant
from jobs.statuses import Status
from tests.audit_log import last_entry, new_entry
from tests.encrypted import FIRST, encrypted
from tests.factories import make_job
from tests.store.steps import age, job_in

pytestmark = pytest.mark.django_db

Arguments = Callable[[Tenant], list[str]]
"""Makes what a verb is about; answers what follows upon it."""
ALICE = ["--tenant", "alice"]


def job(status: Status) -> Arguments:
    return lambda tenant: [str(make_job(tenant, status).pk)]


def queue(*more: str) -> Arguments:
    def prepare(tenant: Tenant) -> list[str]:
        make_job(tenant, queue="mail")
        return ["mail", *ALICE, *more]

    return prepare


def old(tenant: Tenant) -> list[str]:
    age([job_in(Status.DONE, tenant)], days=9)
    return ALICE


def api_key(tenant: Tenant) -> list[str]:
    return [create_api_key(tenant, actor="command:test")[0].prefix]


def sealed(*more: str) -> Arguments:
    def prepare(tenant: Tenant) -> list[str]:
        encrypted(tenant)
        return ["alice", *more]

    return prepare


def limited(tenant: Tenant) -> list[str]:
    services.set_task_limit(tenant, "echo", actor="command:test", max_running=1)
    return ["echo", *ALICE, "--max-running", "2"]


def limited_queue(tenant: Tenant) -> list[str]:
    make_job(tenant, queue="mail")
    return ["alice", "mail", "--weight", "2"]


DEEDS: Mapping[tuple[str, str], tuple[str, Arguments]] = {
    ("jobs", "submit"): ("submit", lambda _: ALICE),
    ("jobs", "cancel"): ("cancel", job(Status.PENDING)),
    ("jobs", "retry"): ("retry", job(Status.FAILED)),
    ("jobs", "redrive"): ("redrive", job(Status.DLQ)),
    ("jobs", "pause"): ("pause", queue("--reason", "down")),
    ("jobs", "resume"): ("resume", queue()),
    ("jobs", "purge"): ("purge", old),
    ("tenants", "create"): ("create_tenant", lambda _: ["new"]),
    ("tenants", "set"): ("change_limits", lambda _: ["alice", "--weight", "2"]),
    ("tenants", "limit-queue"): ("change_limits", limited_queue),
    ("tenants", "limit-task"): ("limit_task", limited),
    ("tenants", "encrypt"): ("encrypt_tenant", lambda _: ["alice"]),
    ("tenants", "rotate-key"): ("rotate_tenant_key", sealed()),
    ("tenants", "erase-key"): ("erase_tenant_key", sealed("--yes")),
    ("tenants", "rewrap"): ("rewrap_tenant_keys", lambda _: []),
    ("apikeys", "create"): ("create_api_key", lambda _: ["alice"]),
    ("apikeys", "rotate"): ("rotate_api_key", api_key),
    ("apikeys", "revoke"): ("revoke_api_key", api_key),
}
LOOKS = {
    *(("jobs", verb) for verb in ("list", "show", "why", "logs", "dlq")),
    *(("tenants", verb) for verb in ("list", "limits")),
    ("apikeys", "list"),
}


def verbs(command: str) -> set[tuple[str, str]]:
    parser: ArgumentParser = (
        import_module(f"jobs.management.commands.{command}")
        .Command()
        .create_parser("manage.py", command)
    )
    (chosen,) = [one for one in parser._actions if isinstance(one, _SubParsersAction)]
    return {(command, verb) for verb in chosen.choices}


def test_every_verb_is_in_the_table() -> None:
    assert verbs("jobs") | verbs("tenants") | verbs("apikeys") == DEEDS.keys() | LOOKS


@pytest.mark.parametrize("verb", DEEDS, ids=" ".join)
def test_it_is_written_down(
    alice: Tenant,
    environment_holds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, str],
) -> None:
    monkeypatch.setattr(tenant_keys, "SETTLED_SECONDS", 0)
    environment_holds(FIRST)
    action, prepare = DEEDS[verb]
    arguments = prepare(alice)
    last = last_entry()
    call_command(*verb, *arguments, stdout=StringIO())
    entry = new_entry(action, actor=f"command:{verb[0]}", address=None, after=last)
    of_nobody = {"create_tenant", "rewrap_tenant_keys"}
    assert action in of_nobody or entry.tenant_id == alice.pk


def test_who_is_made_an_operator_is_written_down(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a secret")
    arguments = ("--noinput", "--username", "olga", "--email", "olga@example.org")
    call_command("createsuperuser", *arguments, stdout=StringIO())
    entry = new_entry("create_user", actor="command:createsuperuser", address=None, after=0)
    assert entry.target == "olga"
    assert entry.details["after"] == dict.fromkeys(("is_active", "is_staff", "is_superuser"), True)


def test_whose_password_is_changed_is_written_down(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    User.objects.create_user("olga")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "a better secret")
    call_command("changepassword", "olga", stdout=StringIO())
    entry = new_entry("change_user", actor="command:changepassword", address=None, after=0)
    assert (entry.target, entry.details) == ("olga", {"changed": ["password"]})


def test_people_who_are_made_otherwise_later_are_not(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a secret")
    arguments = ("--noinput", "--username", "olga", "--email", "olga@example.org")
    call_command("createsuperuser", *arguments, stdout=StringIO())
    last = last_entry()
    User.objects.create_user("bob")
    assert last_entry() == last
