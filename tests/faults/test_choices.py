"""The seed chooses jobs and faults, and chooses the same again."""

from itertools import islice

from tests.faults.faults import FAULTS
from tests.faults.nemesis import acts
from tests.faults.plan import HAZARDS, SHARES, Wish, batches

NETWORK = [fault for fault in FAULTS.values() if fault.part == "network"]


def plan(seed: int, jobs: int = 20_000) -> list[Wish]:
    chosen = batches(seed, jobs, hazards=list(HAZARDS), hold_seconds=5)
    return [wish for batch in chosen for wish in batch]


def test_a_plan_has_every_job_once_every_lane_and_every_hazard() -> None:
    wishes = plan(1)
    assert len({wish.key for wish in wishes}) == len(wishes) == 20_000
    assert {wish.lane for wish in wishes} == set(SHARES)
    assert {fields["task"] for fields in HAZARDS.values()} < {wish.task for wish in wishes}


def test_a_batch_is_of_one_lane() -> None:
    chosen = batches(1, 20_000, hazards=list(HAZARDS), hold_seconds=5)
    assert all(len({wish.lane for wish in batch}) == 1 for batch in chosen)


def test_the_same_seed_plans_the_same_jobs() -> None:
    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_the_same_seed_chooses_the_same_faults_each_before_any_comes_again() -> None:
    first, again, other = (
        list(islice(acts(seed, NETWORK, pace=1, lease_seconds=3), len(NETWORK)))
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert {act.fault for act in first} == set(NETWORK)


def test_what_is_to_outlast_a_lease_does() -> None:
    chosen = islice(acts(1, NETWORK, pace=1, lease_seconds=30), 50)
    assert all((act.lasts > 30) == act.fault.beyond_lease for act in chosen)
