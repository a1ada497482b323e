"""A claimer to be driven by a test."""

import math
import time
from collections.abc import Mapping, Sequence

from jobs import store
from jobs.statuses import Status
from tests.store.steps import WORKER, outcome
from workers.claimer import START_SECONDS, Claimer
from workers.held import HeldJob, HeldJobs


class Slots:
    """A claimer whose jobs end as soon as the test says."""

    def __init__(self, *queues: str) -> None:
        self.held = HeldJobs(10)
        self.started: list[HeldJob] = []
        self.claimer = Claimer(
            WORKER, self.held, queues=queues, tags=(), run=lambda jobs: self.started.extend(jobs)
        )

    def tick_until_idle(self) -> None:
        while self.claimer.tick() <= START_SECONDS:
            pass

    def claim_by_one_look(self) -> None:
        """Claim what there is by a look of now, which is believed from then on."""
        self.claimer._look_again_at = 0
        self.claimer.tick()
        self.claimer._look_again_at = math.inf
        self.tick_until_idle()

    def hold(self, seconds: Mapping[str, float]) -> None:
        """Let what has started have run for so long, by tenant."""
        for one in self.started:
            one.ended_at = time.monotonic()
            one.started_at = one.ended_at - seconds[one.job.tenant]

    def end_all(self) -> None:
        store.finish(WORKER, [outcome(one.job, Status.DONE) for one in self.started])
        self._let_go(list(self.started))

    def relay_all(self, status: Status = Status.DONE) -> None:
        """Have the claimer record that all have ended, as the finisher does."""
        self.relay(list(self.started), status)

    def relay(self, ended: Sequence[HeldJob], status: Status = Status.DONE) -> None:
        assert len(self.claimer.finish([outcome(one.job, status) for one in ended])) == len(ended)
        self._let_go(ended)

    def _let_go(self, ended: Sequence[HeldJob]) -> None:
        self.held.remove(ended)
        self.started = [one for one in self.started if one not in ended]
