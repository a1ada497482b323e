"""Places are shared by weight: among tenants, then among the lanes of each."""

from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from jobs.shares import KEPT, MAX_DEBT_TURNS, FairShares
from jobs.store import ReadyLane, Share

ENDLESS = 10**9


def lane(
    lane_id: int,
    tenant_id: int,
    *,
    weight: int = 1,
    tenant_weight: int = 1,
    room: int | None = None,
    tenant_room: int | None = None,
) -> ReadyLane:
    """A lane with ready jobs."""
    return ReadyLane(lane_id, tenant_id, weight, tenant_weight, room, tenant_room)


def run(
    shares: FairShares,
    lanes: Sequence[ReadyLane],
    places: Sequence[int],
    jobs: Mapping[int, int] | None = None,
) -> Counter[int]:
    """Divide again and again; what a lane has no jobs for it does not take."""
    left = dict.fromkeys((one.lane_id for one in lanes), ENDLESS) | dict(jobs or {})
    total: Counter[int] = Counter()
    for count in places:
        claimed = {s.lane_id: min(s.quota, left[s.lane_id]) for s in shares.divide(lanes, count)}
        for lane_id, taken in claimed.items():
            left[lane_id] -= taken
        shares.charge(claimed)
        total.update(claimed)
    return total


_WEIGHTS = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
    min_size=1,
    max_size=4,
)
_PLACES = st.lists(st.integers(1, 20), min_size=200, max_size=200)


def lanes_by(weights: Sequence[tuple[int, Sequence[int]]]) -> list[ReadyLane]:
    """Tenants of those weights, with lanes of those weights."""
    return [
        lane(10 * tenant_id + number, tenant_id, weight=weight, tenant_weight=tenant_weight)
        for tenant_id, (tenant_weight, own) in enumerate(weights)
        for number, weight in enumerate(own)
    ]


@given(weights=_WEIGHTS, places=_PLACES)
def test_shares_are_by_weight_of_the_tenant_and_within_it_of_the_lane(
    weights: list[tuple[int, list[int]]], places: list[int]
) -> None:
    got = run(FairShares(), lanes_by(weights), places)
    of_all_tenants = sum(tenant_weight for tenant_weight, _ in weights)
    assert got.total() == sum(places)
    for tenant_id, (tenant_weight, own) in enumerate(weights):
        of_tenant = sum(got[10 * tenant_id + number] for number in range(len(own)))
        share = sum(places) * tenant_weight / of_all_tenants
        assert abs(of_tenant - share) <= len(weights) + 9
        for number, weight in enumerate(own):
            share = of_tenant * weight / sum(own)
            assert abs(got[10 * tenant_id + number] - share) <= len(own) + 9


def test_tenant_gains_nothing_by_many_queues() -> None:
    lanes = [lane(1, 1), *(lane(100 + n, 2) for n in range(50))]
    got = run(FairShares(), lanes, [10] * 100)
    assert (got[1], got.total()) == (500, 1_000)


_ROOMS = st.lists(
    st.tuples(st.none() | st.integers(0, 9), st.lists(st.none() | st.integers(0, 9), min_size=1)),
    min_size=1,
    max_size=6,
)


@given(rooms=_ROOMS, places=st.integers(0, 60))
def test_nobody_gets_more_than_its_room_and_no_place_is_left_that_somebody_had_room_for(
    rooms: list[tuple[int | None, list[int | None]]], places: int
) -> None:
    lanes = [
        lane(1_000 * tenant_id + number, tenant_id, room=room, tenant_room=tenant_room)
        for tenant_id, (tenant_room, own) in enumerate(rooms)
        for number, room in enumerate(own)
    ]
    quotas = {share.lane_id: share.quota for share in FairShares().divide(lanes, places)}
    possible = 0
    for tenant_id, (tenant_room, own) in enumerate(rooms):
        got = [quotas.get(1_000 * tenant_id + number, 0) for number in range(len(own))]
        narrow = [places if room is None else min(room, places) for room in own]
        assert all(quota <= room for quota, room in zip(got, narrow, strict=True))
        of_tenant = sum(narrow) if tenant_room is None else min(tenant_room, sum(narrow))
        assert sum(got) <= of_tenant
        possible += of_tenant
    assert sum(quotas.values()) == min(places, possible)


def run_long(lanes: Sequence[ReadyLane], turns: Mapping[int, float]) -> Counter[int]:
    """One place after the other, for jobs that hold it for so many more turns, by lane."""
    shares, total = FairShares(), Counter[int]()
    tenants = {one.lane_id: one.tenant_id for one in lanes}
    for _ in range(600):
        claimed = {share.lane_id: share.quota for share in shares.divide(lanes, 1)}
        shares.charge(claimed)
        for lane_id in claimed:
            shares.prolong(tenants[lane_id], lane_id, turns[lane_id])
        total.update(claimed)
    return total


def test_long_jobs_of_a_tenant_with_more_weight_cost_it_less() -> None:
    got = run_long([lane(1, 1), lane(2, 2, tenant_weight=3)], {1: 9, 2: 9})
    assert abs(got[2] - 450) <= 5


def test_long_jobs_of_one_lane_leave_the_turns_to_the_others_of_their_tenant() -> None:
    got = run_long([lane(1, 1), lane(2, 1)], {1: 9, 2: 0})
    assert abs(got[1] - 600 / 11) <= 5


def test_newcomer_starts_at_once_and_takes_no_more_than_its_share() -> None:
    shares, old = FairShares(), [lane(1, 1), lane(2, 1)]
    run(shares, old, [100] * 50)
    got = run(shares, [*old, lane(3, 2), lane(4, 1)], [1] * 6)
    assert got[3] == 3
    assert got[4] == 1


def test_nobody_saves_up_credit_at_its_limit() -> None:
    shares = FairShares()
    limited = lane(1, 1, tenant_room=1)
    run(shares, [limited, lane(2, 2)], [100] * 100)
    got = run(shares, [lane(1, 1), lane(2, 2), lane(3, 3)], [30])
    assert all(9 <= got[lane_id] <= 11 for lane_id in (1, 2, 3))


def test_who_took_what_nobody_else_wanted_owes_nothing() -> None:
    shares = FairShares()
    run(shares, [lane(1, 1, room=50), lane(2, 2, room=1)], [100])
    got = run(shares, [lane(1, 1), lane(2, 2)], [10])
    assert (got[1], got[2]) == (5, 5)


def test_hours_of_a_slot_that_nobody_else_wanted_are_owed_for_a_minute() -> None:
    shares = FairShares()
    run(shares, [lane(1, 1)], [1])
    for _ in range(100):
        shares.prolong(1, 1, 3_600)
    got = run(shares, [lane(1, 1), lane(2, 2)], [100] * (MAX_DEBT_TURNS // 100 + 10))
    assert 450 <= got[1] <= 550
    assert got[2] >= MAX_DEBT_TURNS


def test_debt_is_not_forgotten_by_going_away_for_a_moment() -> None:
    shares, heavy = FairShares(), lane(2, 2, tenant_weight=9)
    got: Counter[int] = Counter()
    for turn in range(100):
        present = [lane(1, 1), heavy] if turn % 2 else [heavy]
        got += run(shares, present, [1])
    assert got[1] <= 10 + 1


def test_lanes_of_a_tenant_at_its_limit_take_turns() -> None:
    """It is away while its only place is taken, and back with all of them when that is free."""
    shares, other, got = FairShares(), lane(9, 9), Counter[int]()
    own = [lane(1, 1, tenant_room=1), lane(2, 1, tenant_room=1, weight=2)]
    for _ in range(60):
        got += run(shares, [*own, other], [10])
        run(shares, [other], [10])
        shares.divide([], 10)
    assert (got[1], got[2]) == (20, 40)


def test_what_is_remembered_of_those_who_are_away_is_bounded() -> None:
    shares = FairShares()
    for tenant_id in range(KEPT + 50):
        shares.charge({s.lane_id: 1 for s in shares.divide([lane(tenant_id, tenant_id)], 1)})
        shares.prolong(tenant_id, tenant_id, 5)
    assert len(shares._lanes) <= KEPT + 1


@given(
    places=st.integers(1, 20),
    stuck=st.integers(1, 5),
    apart=st.booleans(),
    first=st.booleans(),
)
def test_lanes_whose_jobs_cannot_be_claimed_starve_nobody(
    places: int, stuck: int, apart: bool, first: bool
) -> None:
    """Such as of tasks that are unknown here, or of a tenant that another claimer has locked."""
    blocked = [lane(10 + n, n + 2 if apart else 1) for n in range(stuck)]
    working = lane(1 if first else 99, 1)
    got = run(FairShares(), [*blocked, working], [places] * 60, dict.fromkeys(range(10, 15), 0))
    half_of_its_share = 60 * places // (stuck + 1) // 2
    assert got[working.lane_id] >= half_of_its_share - places


def test_nothing_to_divide_is_divided_into_nothing() -> None:
    shares = FairShares()
    assert shares.divide([], 10) == []
    shares.charge({})
    assert shares.divide([lane(1, 1)], 0) == []
    assert shares.divide([lane(1, 1)], 2) == [Share(1, 2)]
