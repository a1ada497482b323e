"""What a scenario is, what it measures, and what a run of it hands back."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

POSTGRESQL, SQLITE = "postgresql", "sqlite"


class BenchError(Exception):
    """The measurement is void: jobs are missing, a limit did not hold, or time was up."""


class Figure(NamedTuple):
    """One measured value, and what the bare loop or the work without a queue did beside it."""

    value: float
    floor: float | None = None


Sample = Mapping[str, Figure]
"""What one run found, by the names of the scenario's measures."""


@dataclass(frozen=True)
class Target:
    """What a measure must reach, or aims at; by its ratio to the floor where said.

    `is_most`: the bound is an upper one.
    """

    level: Literal["must", "aim"]
    bound: float
    is_ratio: bool = False
    is_most: bool = False

    def is_met(self, value: float) -> bool:
        """Whether the value, or the ratio, is on the right side of the bound."""
        return value <= self.bound if self.is_most else value >= self.bound


@dataclass(frozen=True)
class Measure:
    """One line of the table: a name, its unit, and what is expected of it."""

    name: str
    unit: str
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the person at the keyboard chose.

    `scale` is the fraction of the usual numbers of jobs, `minutes` the length of what takes long,
    `concurrency` the slots per process that the best set-up is looked for among.
    """

    runs: int = 3
    scale: float = 1.0
    minutes: float = 10.0
    concurrency: tuple[int, ...] = (10,)
    is_long: bool = False

    def jobs(self, usual: int) -> int:
        """The number of jobs at this scale."""
        return max(10, round(usual * self.scale))

    def each_run(self) -> Iterator[int]:
        """The numbers of the runs, told as they begin."""
        for number in range(1, self.runs + 1):
            say(f"  run {number} of {self.runs}")
            yield number


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something to measure, in a process of its own.

    `run` is the path of a generator that takes `Settings` and yields a `Sample` per run;
    `limit_seconds` is the longest that one run may take, preparation included; to that come
    `limit_per_minute` seconds for each of `Settings.minutes`.
    """

    name: str
    title: str
    measures: tuple[Measure, ...]
    run: str
    databases: frozenset[str] = frozenset({POSTGRESQL})
    limit_seconds: float = 120
    limit_per_minute: float = 0
    is_long: bool = False

    def seconds(self, settings: Settings) -> float:
        """The longest that all runs may take."""
        return settings.runs * (self.limit_seconds + self.limit_per_minute * settings.minutes)


def say(text: str) -> None:
    """Tell the person at the keyboard; standard output is for results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
