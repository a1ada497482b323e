"""The nemesis: chooses faults by a seed, begins them, and undoes them when their time is over."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import NamedTuple

from tests.faults.faults import Fault
from tests.faults.world import World

Say = Callable[[str], None]


class Act(NamedTuple):
    """One use of a fault: after how many seconds, on whom, for how long."""

    fault: Fault
    pause: float
    where: float
    lasts: float


def acts(seed: int, faults: Sequence[Fault], *, pace: float, lease_seconds: float) -> Iterator[Act]:
    """What is done in one part of the world, for ever; the same for the same seed.

    Every fault has its turn before any has its next. `pace`: seconds between two, on average.
    """
    rng = Random(f"{seed} {faults[0].part}")
    while True:
        for fault in rng.sample(faults, len(faults)):
            lasts = rng.uniform(*fault.lasts) + lease_seconds * fault.beyond_lease
            yield Act(fault, pace * rng.uniform(0.5, 1.5), rng.random(), lasts)


class Nemesis:
    """Works on all parts of the world at once, one fault in each. Call `tick` often."""

    def __init__(
        self,
        world: World,
        faults: Sequence[Fault],
        *,
        seed: int,
        pace: float,
        lease_seconds: float,
        say: Say,
    ) -> None:
        by_part: dict[str, list[Fault]] = {}
        for fault in faults:
            by_part.setdefault(fault.part, []).append(fault)
        self._parts = [
            _Part(world, acts(seed, of_part, pace=pace, lease_seconds=lease_seconds), say)
            for of_part in by_part.values()
        ]
        self._missing = {fault.name for fault in faults}

    def tick(self) -> None:
        """Begin what is to be begun, and undo what is over."""
        for part in self._parts:
            self._missing -= {part.tick()}

    def heal(self) -> None:
        """Undo everything."""
        for part in self._parts:
            part.undo()

    @property
    def has_done_all(self) -> bool:
        """Whether every fault has had its turn."""
        return not self._missing


class _Part:
    def __init__(self, world: World, acts: Iterator[Act], say: Say) -> None:
        self._world = world
        self._acts = acts
        self._say = say
        self._doing: AbstractContextManager[str] | None = None
        self._plan()

    def _plan(self) -> None:
        self._act = next(self._acts)
        self._at = time.monotonic() + self._act.pause

    def tick(self) -> str:
        """Answers the name of the fault that was undone, if one was."""
        if time.monotonic() < self._at:
            return ""
        if self._doing is None:
            self._do()
            return ""
        self.undo()
        done = self._act.fault.name
        self._plan()
        return done

    def _do(self) -> None:
        self._doing = self._act.fault.do(self._world, self._act.where)
        self._say(f"{self._act.fault.name}: {self._doing.__enter__()}")
        self._at = time.monotonic() + self._act.lasts

    def undo(self) -> None:
        if self._doing is not None:
            self._doing.__exit__(None, None, None)
            self._doing = None
            if self._act.lasts > 1:
                self._say(f"{self._act.fault.name}: undone")
