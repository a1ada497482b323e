"""The page of workers: what each runs, and what it is asked to do."""

import tomllib
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import jobs
from jobs.models import AuditEntry, Tenant, Worker
from jobs.statuses import Status
from tests.architecture.rules import ROOT
from tests.factories import WORKER, make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(admin_client: Client) -> Client:
    """A superuser's browser."""
    return admin_client


def worker(name: str = "node:1", **fields: object) -> Worker:
    now = timezone.now()
    given = {"host": "node", "pid": 1, "slots": 4, "started_at": now, "seen_at": now}
    return Worker.objects.create(id=name, **given | fields)


def states(client: Client) -> dict[str, str]:
    rows = client.get(reverse("workers")).context["worker_list"]["rows"]
    return {row.worker.pk: row.state for row in rows}


def test_a_worker_tells_what_it_is_and_what_it_runs(root: Client, alice: Tenant) -> None:
    worker(WORKER, version="1.2.3", python_version="3.11.9", memory_bytes=64 << 20, running=1)
    job = make_job(alice, Status.RUNNING, queue="mail")
    make_job(alice, Status.DONE)
    page = root.get(reverse("workers")).text
    for text in ("1.2.3", "Python 3.11.9", "64 MB", "1/4", "alice/mail"):
        assert text in page
    assert page.count('class="running-job"') == 1
    assert reverse("job", args=[job.pk]) in page


def test_states_are_told_apart(root: Client) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    worker("live")
    worker("quiet", is_draining=True, asked_to="quiet")
    worker("draining", is_draining=True)
    worker("stopping", is_draining=True, asked_to="stop")
    worker("stale", seen_at=long_ago)
    worker("stopped", stopped_at=long_ago)
    assert states(root) == {
        **{name: name for name in ("live", "quiet", "draining", "stale", "stopped")},
        "stopping": "draining",
    }


@pytest.mark.parametrize(("action", "asked_to"), [("quiet", "quiet"), ("stop", "stop")])
def test_a_worker_is_asked_behind_a_question_with_the_count(
    root: Client, action: str, asked_to: str
) -> None:
    worker(running=3)
    address = reverse("ask-worker", args=["node:1", action])
    assert '<b id="count">3</b> jobs' in root.get(address).text
    assert Worker.objects.get().asked_to == ""
    root.post(address)
    assert Worker.objects.get().asked_to == asked_to
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.target) == ("user:admin", f"{action}_worker", "node:1")
    assert f"asked: {action}" in root.get(reverse("workers")).text


def test_a_quiet_worker_is_told_to_go_on(root: Client) -> None:
    worker(asked_to="quiet", is_draining=True)
    assert reverse("ask-worker", args=["node:1", "resume"]) in root.get(reverse("workers")).text
    root.post(reverse("ask-worker", args=["node:1", "resume"]))
    assert Worker.objects.get().asked_to == ""


def test_what_stops_is_asked_nothing_more(root: Client) -> None:
    worker("stopping", asked_to="stop")
    worker("stopped", stopped_at=timezone.now())
    for name in ("stopping", "stopped"):
        answer = root.post(reverse("ask-worker", args=[name, "quiet"]), follow=True)
        assert "cannot be asked any more" in answer.text
    assert not AuditEntry.objects.exists()


def test_a_tenants_own_worker_is_nobodys_to_ask(root: Client, alice: Tenant) -> None:
    worker("own", tenant=alice)
    assert root.get(reverse("ask-worker", args=["own", "stop"])).status_code == 404
    assert "/stop" not in root.get(reverse("workers")).text


def test_an_onlooker_is_offered_nothing(onlooker: Client) -> None:
    worker()
    page = onlooker.get(reverse("workers")).text
    assert "node" in page
    assert "/stop" not in page
    assert "/quiet" not in page


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert jobs.__version__ == project["version"]
