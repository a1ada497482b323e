"""The scenarios: all of them can be run, one of them is, and a void one is noticed."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils.module_loading import import_string

from bench import drains, load
from bench.__main__ import main
from bench.catalogue import SCENARIOS
from bench.fairness import windows
from bench.scenario import BenchError, Settings
from jobs import services, store
from jobs.models import Job, Tenant
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.factories import make_job

TINY = Settings(runs=1, scale=0.004)


def test_every_scenario_has_something_to_run_and_a_name_of_its_own() -> None:
    assert all(callable(import_string(scenario.run)) for scenario in SCENARIOS)
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_list_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [scenario.name for scenario in SCENARIOS]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--runs", "0"],
        ["--scale", "nan"],
        ["--only", "x"],
        ["--databases", "x"],
        ["--minutes", "-1"],
    ],
)
def test_impossible_wish_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(arguments)
    assert refusal.value.code == 2


@pytest.mark.django_db(transaction=True)
def test_drain_is_measured_beside_the_floor() -> None:
    (sample,) = drains.one_process(TINY)
    assert sample["drain"].value > 0
    assert sample["drain"].floor
    assert Job.objects.filter(status=Status.DONE).count() == 200 + load.WARM_UP_JOBS


@pytest.mark.django_db
def test_job_that_is_not_done_makes_the_drain_void(alice: Tenant) -> None:
    make_job(alice, Status.DONE)
    make_job(alice, Status.PENDING)
    with pytest.raises(BenchError, match="2 are there and 1 are good"):
        load.counted(2, (alice.pk,), b"null")


@pytest.mark.django_db
def test_job_that_is_missing_makes_the_drain_void(alice: Tenant) -> None:
    make_job(alice, Status.DONE)
    with pytest.raises(BenchError, match="Of 2 jobs, 1 are there"):
        load.counted(2, (alice.pk,), b"null")


@pytest.mark.django_db
def test_result_that_was_not_kept_makes_the_drain_void(alice: Tenant) -> None:
    make_job(alice, Status.DONE, result=b"2")
    with pytest.raises(BenchError, match="0 are good"):
        load.counted(1, (alice.pk,), b"null")


@pytest.mark.django_db
def test_second_attempt_makes_the_drain_void(alice: Tenant) -> None:
    job = make_job(alice, Status.FAILED)
    services.retry(job, actor="command:test")
    (claimed,) = store.claim("w", [store.Share(job.lane_id, 1)], lease_seconds=30)
    done = store.Outcome(
        job_id=job.pk,
        fence=claimed.fence,
        lane_id=job.lane_id,
        tenant_id=alice.pk,
        status=Status.DONE,
        result=b"null",
    )
    assert store.finish("w", [done]) == {job.pk}
    with pytest.raises(BenchError, match="0 are good"):
        load.counted(1, (alice.pk,), b"null")


@pytest.mark.django_db
def test_nothing_is_no_drain() -> None:
    with pytest.raises(BenchError):
        load.counted(0, (), None)


@pytest.mark.django_db
def test_jobs_of_a_tenant_at_once_are_counted_by_their_times(
    alice: Tenant, mallory: Tenant
) -> None:
    for tenant in (alice, alice, mallory):
        services.submit(tenant, NewJob(task="echo"))
    lanes = [store.Share(lane, 2) for lane in set(Job.objects.values_list("lane_id", flat=True))]
    assert len(store.claim("w", lanes, lease_seconds=30)) == 3
    Job.objects.update(finished_at=F("started_at") + timedelta(seconds=1))
    assert drains.most_at_once(Job.objects.all()) == 2


def test_only_whole_windows_of_contention_count() -> None:
    starts = {"a": [0.0, 1.0, 2.0, 3.0, 9.0], "b": [0.5, 1.5, 2.5]}
    assert windows(starts, 1.0) == [{"a": 1, "b": 1}, {"a": 1, "b": 1}]


def test_tenant_that_got_nothing_is_in_every_window() -> None:
    starts = {"a": [0.0, 0.5, 1.5, 4.0], "b": [3.0]}
    assert windows(starts, 1.0)[:2] == [{"a": 2, "b": 0}, {"a": 1, "b": 0}]


@pytest.mark.parametrize("starts", [{"a": [0.0, 9.0], "b": []}, {"a": [0.0, 9.0], "b": [0.5]}])
def test_fairness_without_contention_is_void(starts: dict[str, list[float]]) -> None:
    with pytest.raises(BenchError, match="had work for"):
        windows(starts, 1.0)
