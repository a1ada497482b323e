"""What can happen to the queue, how often, and how."""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, TypeVar

from hypothesis import strategies as st

from jobs.statuses import Status
from jobs.submission import NewJob
from tests.properties.model import STEP

T = TypeVar("T")
Step = tuple[str, dict[str, Any]]

TENANTS, QUEUES = ["alice", "bob"], ["a", "b"]
TASKS = ["echo", "strange"]
WORKERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "w1": ((), ()),
    "w2": (("gpu",), ()),
    "w3": (("gpu",), ("strange",)),
}
"""The tags of each worker, and the tasks that it does not know."""
ENDINGS = [Status.DONE, Status.FAILED, Status.DLQ, Status.CANCELLED]
OPERATIONS = ["cancel", "discard", "redrive", "retry"]
LANES = list(itertools.product(TENANTS, QUEUES))


def a_job(chance: random.Random) -> NewJob:
    """Any; one with a key has few contents, so that the same request comes again."""
    key = chance.choice([None] * 4 + ["k1", "k2"])
    kind = chance if key is None else random.Random(chance.choice([1, 1, 1, 2]))
    new = NewJob(
        task=kind.choice(TASKS),
        queue=kind.choice(QUEUES),
        priority=kind.randint(-1, 1),
        max_retries=kind.randint(0, 3),
        delay_seconds=kind.choice([None] * 6 + [STEP // 2, STEP + STEP // 2]),
        worker_tags=kind.choice([(), (), ("gpu",)]),
        idempotency_key=key,
    )
    return replace(new, request_hash=sha256(repr(new).encode()).hexdigest())


def some(chance: random.Random) -> list[int]:
    """Up to three jobs or leases, by how many came later."""
    return chance.sample(range(8), chance.randint(1, 3))


def a_limit(chance: random.Random) -> dict[str, Any]:
    """Often none; a paced one starts one job a minute, and `burst` at one moment."""
    return {
        "max_running": chance.choice([None] * 5 + [0, 1, 2, 3]),
        "is_paced": chance.random() < 0.25,
        "burst": chance.choice([1, 2, 3]),
    }


STEPS: dict[str, tuple[int, Callable[[random.Random], dict[str, Any]]]] = {
    "submit": (4, lambda c: {
        "tenant": c.choice(TENANTS),
        "batch": [a_job(c) for _ in range(c.randint(1, 4))],
    }),
    "claim": (5, lambda c: {
        "worker": c.choice(list(WORKERS)),
        "lanes": c.sample(LANES, c.choice([1, 2, 4, 4])),
        "quota": c.randint(1, 3),
        "looks_anew": c.random() < 0.6,
        "pause": c.choice([0, 0, 100]),
    }),
    "relay": (3, lambda c: {
        "worker": c.choice(list(WORKERS)),
        "lanes": c.sample(LANES, c.choice([1, 2, 4])),
        "quota": c.randint(1, 3),
        "grants": some(c),
    }),
    "finish": (3, lambda c: {"grants": some(c), "fates": c.choices(ENDINGS, k=3)}),
    "finish_all": (1, lambda c: {"worker": c.choice(list(WORKERS)), "fate": c.choice(ENDINGS)}),
    "extend": (1, lambda c: {"grants": some(c)}),
    "release": (1, lambda c: {"grants": some(c)}),
    "die": (1, lambda c: {"worker": c.choice(list(WORKERS)), "started": c.randint(0, 3)}),
    # A machine that vanishes does nothing more: that needs no step.
    "pass_time": (3, lambda c: {"seconds": c.choice([STEP, STEP, 2 * STEP, -STEP])}),
    "reap": (2, lambda c: {}),
    "promote": (2, lambda c: {}),
    "purge": (1, lambda c: {}),
    "operate": (3, lambda c: {"action": c.choice(OPERATIONS), "jobs": some(c)}),
    "clear_up": (1, lambda c: {
        "action": c.choice(["retry", "redrive", "discard"]), "jobs": list(range(20)),
    }),
    "set_lane": (1, lambda c: {
        "lane": c.choice(LANES), "paused": c.random() < 0.3, **a_limit(c),
    }),
    "set_tenant": (1, lambda c: {
        "tenant": c.choice(TENANTS),
        "rate": c.choice([None, None, 3, 6]),
        "max_pending": c.choice([None, None, 4]),
        "is_active": c.random() < 0.9,
        **a_limit(c),
    }),
    "set_task": (1, lambda c: {
        "tenant": c.choice([*TENANTS, ""]), "task": c.choice(TASKS), **a_limit(c),
    }),
}  # fmt: skip
"""What can happen, how often beside the others, and how."""


def a_step(seed: int) -> Step:
    """The step of that number."""
    chance = random.Random(seed)
    (name,) = chance.choices(list(STEPS), [weight for weight, _ in STEPS.values()])
    return name, STEPS[name][1](chance)


# Numbers that Hypothesis draws evenly; left to itself it would hardly ever get to deep states.
steps = st.integers(0, 2**62).map(a_step)


def recent(things: Sequence[T], which: Iterable[int]) -> list[T]:
    """Those of the things that exist, each once, by how many came later."""
    return [things[-1 - ago] for ago in dict.fromkeys(which) if ago < len(things)]
