"""The waits between attempts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.backoff import Backoff


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 2), (2, 4), (3, 8), (6, 60), (10_000, 60)])
def test_ceiling_doubles_until_the_maximum(attempt: int, seconds: float) -> None:
    assert Backoff(2, 60, jitter=False).delay(attempt, random.Random(1)) == seconds


@given(attempt=st.integers(1, 1_000), seed=st.integers())
def test_jitter_stays_below_the_ceiling(attempt: int, seed: int) -> None:
    ceiling = Backoff(2, 60, jitter=False).delay(attempt, random.Random(seed))
    assert 0 <= Backoff(2, 60).delay(attempt, random.Random(seed)) <= ceiling


def test_jitter_spreads_over_the_whole_wait() -> None:
    rng = random.Random(1)
    waits = [Backoff(10, 10).delay(1, rng) for _ in range(1_000)]
    assert min(waits) < 1
    assert max(waits) > 9
