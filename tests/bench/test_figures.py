"""The arithmetic says what it should, and refuses to make something of nothing."""

import random

import pytest

from bench.figures import Spread, jain, peak_overlap, percentile, rate, spread, worst_window


def test_spread_is_median_least_and_most() -> None:
    assert spread([3, 1, 2]) == Spread(2, 1, 3)
    assert spread([4, 1, 2, 3]) == Spread(2.5, 1, 4)
    assert spread([7]) == Spread(7, 7, 7)


def test_one_outlier_does_not_move_the_median() -> None:
    assert spread([10, 11, 1_000_000]).median == 11


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    random.shuffle(values)
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([5.0], 1) == 5


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_impossible_percentile_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([1.0], percent)


def test_jain_is_one_for_equal_shares_and_least_for_a_monopoly() -> None:
    assert jain([3, 3, 3, 3]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([1, 2]) == pytest.approx(0.9)
    assert jain([2, 4]) == pytest.approx(jain([1, 2]))


@pytest.mark.parametrize("shares", [[], [0, 0], [1, -1]])
def test_jain_of_no_shares_is_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"Shares|nothing"):
        jain(shares)


def test_overlap_counts_those_present_at_once() -> None:
    assert peak_overlap([]) == 0
    assert peak_overlap([(0, 10), (1, 2), (3, 4)]) == 2
    assert peak_overlap([(0, 3), (1, 4), (2, 5)]) == 3


def test_successor_does_not_overlap_its_predecessor() -> None:
    assert peak_overlap([(0, 1), (1, 2), (2, 3)]) == 1


def test_overlap_is_the_same_in_any_order() -> None:
    spans = [(n % 7, n % 7 + n % 5) for n in range(50)]
    expected = peak_overlap(spans)
    random.shuffle(spans)
    assert peak_overlap(spans) == expected


def test_interval_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="before its start"):
        peak_overlap([(2, 1)])


@pytest.mark.parametrize(("count", "seconds"), [(0, 1), (1, 0), (-1, 1), (1, -1)])
def test_rate_of_nothing_is_refused(count: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="no rate"):
        rate(count, seconds)


def test_worst_window_finds_the_dip() -> None:
    steady = [(float(t), 100.0 * t) for t in range(10)]
    dip = [(10.0 + t, 1_000.0 + 10 * t) for t in range(5)]
    assert worst_window(steady, 2) == 100
    assert worst_window(steady + dip, 2) == 10


def test_worst_window_is_no_shorter_than_asked() -> None:
    pause = [(0.0, 0.0), (1.0, 100.0), (2.0, 100.0), (3.0, 200.0)]
    assert worst_window(pause, 1) == 0
    assert worst_window(pause, 2) == 50


def test_worst_window_of_too_short_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        worst_window([(0.0, 0.0), (1.0, 5.0)], 2)


@pytest.mark.parametrize("figure", [spread, lambda values: percentile(values, 50)])
def test_figure_of_nothing_is_refused(figure: object) -> None:
    assert callable(figure)
    with pytest.raises(ValueError, match="nothing to measure"):
        figure([])
