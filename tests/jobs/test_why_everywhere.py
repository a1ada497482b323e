"""Every gate is told by the API, by the command and on the page of the job, in the same words."""

import json
from collections.abc import Callable
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from jobs import services, store, tenant_keys
from jobs.data_keys import forget_keys
from jobs.keys import create_api_key
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from jobs.why import GATES
from tests.encrypted import FIRST, encrypted
from tests.factories import make_job

pytestmark = pytest.mark.django_db
ACTOR = "command:test"
Situation = Callable[[Tenant], Job]


def limited(what: str, whose: str) -> Situation:
    """One job has started, and the limits of the tenant, its queue or a task allow no other."""
    limits = {"limit": {"max_running": 1}, "rate": {"starts_per_minute": 1}}[what]

    def bring_about(tenant: Tenant) -> Job:
        started, waiting = make_job(tenant), make_job(tenant)
        match whose:
            case "tenant":
                services.change_limits(tenant, actor=ACTOR, **limits)
            case "queue":
                services.change_limits(started.lane, actor=ACTOR, **limits)
            case "task":
                services.set_task_limit(tenant, "echo", actor=ACTOR, **limits)
            case _:
                services.set_task_limit(None, "echo", actor=ACTOR, **limits)
        assert len(store.claim("w", [store.Share(started.lane_id, 1)], lease_seconds=30)) == 1
        return waiting

    return bring_about


def with_worker(**fields: Any) -> Situation:
    """The only live worker is like this."""

    def bring_about(tenant: Tenant) -> Job:
        Worker.objects.update(**fields)
        return make_job(tenant, worker_tags=("gpu",))

    return bring_about


def blocked(tenant: Tenant) -> Job:
    """Nothing makes one yet."""
    job = make_job(tenant)
    Job.objects.filter(pk=job.pk).update(status=Status.BLOCKED)
    return job


def paused(tenant: Tenant) -> Job:
    job = make_job(tenant)
    services.set_queue_paused(tenant, "default", paused=True, actor=ACTOR)
    return job


def inactive(tenant: Tenant) -> Job:
    job = make_job(tenant)
    services.change_limits(tenant, actor=ACTOR, is_active=False)
    return job


def encrypted_without(what: str) -> Situation:
    """Encrypted, and then the environment has no key for it, or the key is erased."""

    def bring_about(tenant: Tenant) -> Job:
        with override_settings(ENCRYPTION_KEYS=FIRST):
            job = make_job(encrypted(tenant))
            if what == "erased":
                tenant_keys.erase(tenant, actor=ACTOR)
        forget_keys()
        return job

    return bring_about


SITUATIONS: dict[str, Situation] = {
    "blocked": blocked,
    "backoff": lambda tenant: make_job(tenant, Status.FAILED),
    "scheduled": lambda tenant: make_job(tenant, Status.SCHEDULED),
    "tenant_inactive": inactive,
    "queue_paused": paused,
    "encryption_key_missing": encrypted_without("missing"),
    "encryption_key_erased": encrypted_without("erased"),
    **{
        f"{whose}_{what}": limited(what, whose)
        for whose in ("tenant", "queue", "task", "shared_task")
        for what in ("limit", "rate")
    },
    "no_worker": with_worker(queues=["mail"]),
    "no_worker_with_tags": with_worker(tags=["linux"]),
    "no_worker_for_task": with_worker(tasks=["sleep"]),
    "workers_busy": with_worker(running=4),
    "in_line": make_job,
}


def words(gates: list[dict[str, Any]]) -> dict[str, str]:
    """What is told of each gate, without the time that a pace opens at, as that is worked out."""
    return {gate["code"]: gate["text"].partition(";")[0] for gate in gates}


@pytest.fixture
def told(alice: Tenant) -> Callable[[Job], dict[str, str]]:
    """What the API tells of each gate; the command and the page tell the same."""
    _, key = create_api_key(alice, actor=ACTOR)
    person = User.objects.create_user("ann")
    alice.members.add(person)
    page = Client()
    page.force_login(person)
    now = timezone.now()
    Worker.objects.create(
        id="w", host="h", pid=1, slots=4, tasks=["echo"], tags=["gpu"], started_at=now, seen_at=now
    )

    def ask(job: Job) -> dict[str, str]:
        out = StringIO()
        call_command("jobs", "why", str(job.pk), "--json", stdout=out)
        gates = words(json.loads(out.getvalue())["gates"])
        shown = unescape(page.get(reverse("job", args=[job.pk])).content.decode())
        assert not [text for text in gates.values() if text not in shown]
        if "tenant_inactive" not in gates:  # its keys are refused
            headers = {"Authorization": f"Bearer {key}"}
            answer = Client().get(f"/api/v1/jobs/{job.pk}/why", headers=headers)
            assert words(answer.json()["gates"]) == gates
        return gates

    return ask


def test_there_is_a_situation_for_each_gate() -> None:
    assert set(SITUATIONS) == set(GATES)


@pytest.mark.parametrize("code", GATES)
def test_every_gate_is_told_everywhere(
    alice: Tenant, told: Callable[[Job], dict[str, str]], code: str
) -> None:
    assert code in told(SITUATIONS[code](alice))
