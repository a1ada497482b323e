"""What is to be submitted: jobs whose ends are known beforehand, chosen by a seed."""

from collections.abc import Collection, Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

TENANTS: dict[str, dict[str, Any]] = {
    "free": {"max_running": None},
    "tight": {"max_running": 6},
    "narrow": {"max_running": None},
    "gated": {"max_running": None},
    "paced": {"max_running": None},
}
LANES: dict[str, dict[str, Any]] = {
    "free/default": {},
    "tight/default": {},
    "narrow/thin": {"max_running": 3},
    "gated/gate": {},
    "paced/evenly": {"starts_per_minute": 1_200, "start_burst": 5},
}
"""The one lane of each tenant. What is gated is paused and resumed all the time."""
TASKS: dict[str, dict[str, Any]] = {"nap": {"max_running": 12}}
"""Limits of tasks, of all tenants together."""
SHARES = {
    "free/default": 80,
    "tight/default": 6,
    "narrow/thin": 3,
    "gated/gate": 9,
    "paced/evenly": 2,
}

DONE, DEAD, GIVEN_UP, POISON = "DONE", "DLQ retries_exhausted", "DLQ not_retryable", "DLQ poison"
LARGEST_BATCH = 200
HAZARDS_PER = 12_500
"""Of so many jobs, one of each hazard is one."""


class Wish(NamedTuple):
    """A job to be submitted, and what has to become of it."""

    key: str
    lane: str
    task: str
    payload: dict[str, Any]
    expect: str = DONE
    delay: float = 0
    max_retries: int = 5
    timeout: float = 600

    @property
    def tenant(self) -> str:
        """The slug of its tenant."""
        return self.lane.split("/")[0]

    @property
    def queue(self) -> str:
        """Its queue."""
        return self.lane.split("/")[1]


HAZARDS: dict[str, dict[str, Any]] = {
    "kill-own-process": {"task": "kill_process", "expect": POISON},
    "kill-own-child": {"task": "kill_child", "expect": POISON},
    "eat-memory": {"task": "eat_memory", "expect": DEAD, "max_retries": 1},
    "hold-interpreter": {"task": "hold_interpreter"},
    "ignore-stop": {"task": "ignore_stop", "expect": DEAD, "max_retries": 0, "timeout": 1},
}
"""Jobs that do harm, by the name of the fault."""

Batch = Sequence[Wish]


def batches(
    seed: int, jobs: int, *, hazards: Collection[str], hold_seconds: int
) -> Iterator[Batch]:
    """So many jobs, in batches of one lane; the same for the same seed.

    `hold_seconds`: how long the interpreter is held where that is among the hazards.
    """
    rng = Random(f"{seed} plan")
    harmful = _harmful(rng, jobs, hazards, hold_seconds)
    number = 0
    while number < jobs:
        (lane,) = rng.choices(list(SHARES), weights=list(SHARES.values()))
        size = min(rng.randint(1, min(LARGEST_BATCH, jobs // 20 + 1)), jobs - number)
        batch = []
        for key in range(number, number + size):
            fields = harmful.get(key) or _harmless(rng, lane)
            where = "free/default" if key in harmful else lane
            batch.append(Wish(f"{seed}-{key}", where, **fields))
        number += size
        for of_lane in {wish.lane for wish in batch}:
            yield [wish for wish in batch if wish.lane == of_lane]


def _harmful(
    rng: Random, jobs: int, hazards: Collection[str], hold_seconds: int
) -> dict[int, dict[str, Any]]:
    """The hazards and their places, none among the last jobs: they take their time."""
    names = [name for name in HAZARDS if name in hazards for _ in range(1 + jobs // HAZARDS_PER)]
    places = rng.sample(range(jobs // 2), len(names))
    payloads = {"hold-interpreter": {"seconds": hold_seconds}}
    return {
        place: {"payload": payloads.get(name, {}), **HAZARDS[name]}
        for place, name in zip(places, names, strict=True)
    }


def _harmless(rng: Random, lane: str) -> dict[str, Any]:
    if lane != "free/default":
        return {"task": "quick", "payload": {}}
    kind = rng.random() * 100
    if kind < 85:
        return {"task": "quick", "payload": {}}
    if kind < 85.5:  # long enough to be taken over while it runs
        return {"task": "slow", "payload": {"seconds": round(rng.uniform(1, 6), 3)}}
    if kind < 89:
        return {"task": "slow", "payload": {"seconds": round(rng.uniform(0.05, 1), 3)}}
    if kind < 91:
        return {"task": "nap", "payload": {"seconds": round(rng.uniform(0.05, 2), 3)}}
    if kind < 94:
        return {"task": "quick", "payload": {}, "delay": round(rng.uniform(0.1, 8), 3)}
    if kind < 98:
        return {"task": "stumble", "payload": {"times": rng.randint(1, 3)}}
    if kind < 99:
        return {"task": "stumble", "payload": {"times": 99}, "expect": DEAD, "max_retries": 1}
    if kind < 99.8:
        return {"task": "give_up", "payload": {}, "expect": GIVEN_UP}
    return {"task": "in_child", "payload": {}}
