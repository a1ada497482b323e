"""The arithmetic of the benchmark. Pure: numbers in, numbers out.

Each raises `ValueError` where there is nothing to say: a figure of nothing is no figure.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Median, minimum and maximum."""
    _refuse_nothing(values)
    return Spread(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed ("nearest rank")."""
    _refuse_nothing(values)
    if not 0 < percent <= 100:
        raise ValueError(f"There is no percentile {percent}.")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all shares are equal, 1/n where one has everything."""
    _refuse_nothing(shares)
    if min(shares) < 0 or not any(shares):
        raise ValueError("Shares are not negative, and one of them is more than nothing.")
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def peak_overlap(intervals: Iterable[tuple[float, float]]) -> int:
    """How many of the intervals (start, end) there were at once, at most.

    One that ends when another starts does not overlap it.
    """
    changes = []
    for start, end in intervals:
        if end < start:
            raise ValueError(f"An interval ends at {end}, before its start at {start}.")
        changes += [(start, 1), (end, -1)]
    present = most = 0
    for _, change in sorted(changes):
        present += change
        most = max(most, present)
    return most


def rate(count: int, seconds: float) -> float:
    """How many per second."""
    if count <= 0 or seconds <= 0:
        raise ValueError(f"{count} in {seconds} seconds is no rate.")
    return count / seconds


def worst_window(samples: Sequence[tuple[float, float]], seconds: float) -> float:
    """The lowest rate of a counter over any stretch of at least so many seconds.

    `samples` are (time in seconds, count), both rising; a stretch ends with the first sample that
    makes it long enough.
    """
    rates = []
    last = 0
    for first, (start, count) in enumerate(samples):
        last = max(last, first)
        while last < len(samples) and samples[last][0] - start < seconds:
            last += 1
        if last == len(samples):
            break
        end, count_at_end = samples[last]
        rates.append((count_at_end - count) / (end - start))
    _refuse_nothing(rates)
    return min(rates)


def _refuse_nothing(values: Sequence[float]) -> None:
    if not values:
        raise ValueError("There is nothing to measure by.")
