"""The workload is lifelike, works on real files, and knows when to pause."""

import random

import pytest

from demo import tasks, workload
from demo.workload import KINDS, TENANTS, Workload
from jobs.errors import Discard
from jobs.models import Job, Tenant
from jobs.registry import find

pytestmark = pytest.mark.django_db


@pytest.fixture
def load() -> Workload:
    """A workload that always draws the same lots."""
    return Workload(seed=1)


def test_tenants_have_different_weights(load: Workload) -> None:
    assert len({tenant.weight for tenant in Tenant.objects.all()}) == len(TENANTS)


def test_limits_that_were_edited_stay(load: Workload) -> None:
    Tenant.objects.filter(slug="acme").update(weight=7)
    assert Workload(seed=2).tenants["acme"].weight == 7


def test_every_kind_can_be_submitted(load: Workload) -> None:
    for submit in KINDS:
        submit(load, "demo")
    submitted = Job.objects.values_list("task", flat=True)
    assert len(submitted) == len(KINDS)
    assert all(find(name) for name in submitted)


def test_few_jobs_a_tick(load: Workload) -> None:
    assert load.tick() == workload.JOBS_A_TICK
    assert Job.objects.count() == workload.JOBS_A_TICK


def test_pauses_when_much_is_waiting(load: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "MANY_WAITING", 1)
    for _ in range(20):
        load.tick()
    assert Job.objects.count() <= len(TENANTS)


def test_rests_when_there_are_very_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "MOST_JOBS", 4)
    load = Workload(seed=1)
    assert [load.tick(), load.tick(), load.tick()] == [3, 3, 0]
    assert Workload(seed=1).tick() == 0


def test_obeys_a_limit_that_somebody_set(load: Workload) -> None:
    Tenant.objects.update(submissions_per_minute=1)
    load = Workload(seed=1)
    for _ in range(5):
        load.tick()
    assert Job.objects.count() <= len(TENANTS)


def test_files_are_texts_of_the_project(load: Workload) -> None:
    assert "manage.py" in load.files
    assert not [path for path in load.files if path.startswith((".", "var/"))]
    path = random.choice(load.files)
    assert len(str(tasks.checksum.func(path)["sha256"])) == 64
    assert tasks.count_words.func("manage.py")["words"]


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/hostname", "var/secret-key", ".git/config"]
)
def test_no_other_file_is_read(path: str) -> None:
    with pytest.raises(Discard):
        tasks.project_file(path)
