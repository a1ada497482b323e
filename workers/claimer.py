"""The claimer: keeps the slots busy with claimed jobs, in fair shares."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from jobs import store
from jobs.conf import conf
from jobs.errors import UnknownTask
from jobs.registry import QueueTask, find
from jobs.shares import FairShares
from jobs.store import ClaimedJob, Lease, Share
from workers.held import HeldJob, HeldJobs
from workers.pace import Pace
from workers.role import Role

BATCHING_SECONDS = 0.004
"""At speed, room is claimed when there is so much time's worth of it, and not job by job."""

_log = logging.getLogger(__name__)


class Claimer(Role):
    """Claims what can start within a moment: the free slots, and what the pace allows on top."""

    def __init__(
        self,
        worker: str,
        held: HeldJobs,
        *,
        queues: Collection[str],
        run: Callable[[Sequence[HeldJob]], None],
    ) -> None:
        super().__init__("claimer")
        self._worker = worker
        self._held = held
        self._queues = queues
        self._run_jobs = run
        self._shares = FairShares()
        self._pace = Pace()
        self._tasks: dict[str, QueueTask] = {}
        self._unknown: set[str] = set()
        self._disappointments = 0
        self._strange: list[Lease] = []

    def tick(self) -> float:
        """Claim once if there is room."""
        self._return_strange()
        per_second = self._pace.per_second(self._held.recorded)
        buffer = min(int(per_second * conf().claim_buffer_seconds), 2 * conf().claim_batch)
        room = self._held.slots + buffer - len(self._held)
        if room <= 0:
            return conf().poll_interval_seconds
        if room < per_second * BATCHING_SECONDS:
            return BATCHING_SECONDS / 2
        lanes = store.ready_lanes(self._queues)
        shares = self._shares.divide(lanes, min(room, conf().claim_batch))
        if not shares:
            return conf().poll_interval_seconds
        asked_at = time.monotonic()
        if claimed := self._claim(shares):
            self._start(claimed, asked_at)
            self._disappointments = 0
            return 0
        return self._wait_after_nothing()

    def _wait_after_nothing(self) -> float:
        """Work was seen and none was got: another claimer held it, or nobody here knows its task.

        The first case is over in a moment, the second may last.
        """
        self._disappointments += 1
        longest = min(conf().poll_interval_seconds, 0.005 * 2 ** min(self._disappointments, 20))
        return random.uniform(longest / 2, longest)  # noqa: S311

    def _claim(self, shares: Sequence[Share]) -> list[ClaimedJob]:
        claimed = store.claim(
            self._worker, shares, lease_seconds=conf().lease_seconds, unknown=self._unknown
        )
        self._shares.charge(Counter(job.lane_id for job in claimed))
        return claimed

    def _start(self, claimed: Sequence[ClaimedJob], asked_at: float) -> None:
        known = [job for job in claimed if self._knows(job.task)]
        held = [HeldJob(job, self._tasks[job.task], asked_at) for job in known]
        self._held.add(held)
        self._run_jobs(held)
        self._strange += [Lease(job.id, job.fence) for job in claimed if job.task in self._unknown]
        self._return_strange()

    def _return_strange(self) -> None:
        """Give back jobs whose task nobody here knows; if that fails, the next tick does."""
        if self._strange:
            store.release(self._strange)
            self._strange = []

    def _knows(self, name: str) -> bool:
        """Whether this process has the task; if not, it will leave such jobs to others."""
        if name not in self._tasks and name not in self._unknown:
            try:
                self._tasks[name] = find(name)
            except UnknownTask as error:
                self._unknown.add(name)
                _log.warning(
                    "unknown task; its jobs are left to other workers",
                    extra={"task": name},
                    exc_info=error.__cause__,
                )
        return name in self._tasks


def stale(held: Collection[HeldJob], after_seconds: float) -> list[HeldJob]:
    """The jobs that were claimed so long ago without having started."""
    now = time.monotonic()
    return [one for one in held if one.started_at is None and now - one.claimed_at > after_seconds]
