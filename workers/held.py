"""The jobs that a worker process holds leases of, from claim until their outcome is recorded."""

import threading
import time
from collections.abc import Callable, Collection
from enum import Enum

from jobs.conf import conf
from jobs.data_keys import DataKey
from jobs.errors import JobStopped, JobTimeout, StopRequest
from jobs.registry import QueueTask
from jobs.shares import TURN_SECONDS
from jobs.store import ClaimedJob, Lease

MAX_BUFFERED_SECONDS = 0.5
"""A job that was claimed so long ago and has not started waits behind a long one, or its queue was
paused since."""


class Stop(Enum):
    """Why a running job has to stop."""

    TIMEOUT = "its time is up"
    CANCELLED = "its cancellation was asked for"
    LOST = "its lease was lost"
    DRAIN = "its worker shuts down"

    @property
    def exception(self) -> type[StopRequest]:
        """What is raised in the job's code."""
        return JobTimeout if self is Stop.TIMEOUT else JobStopped


class HeldJob:
    """A claimed job, whether it has started, and how to stop it.

    `lease` is what the store asks for in every write; `leased_at` is the monotonic time before
    which it was last granted or extended. `key` seals what comes of it, where its tenant has one:
    it is kept from the start, so that nothing which happens meanwhile can make the job lose that.
    """

    __slots__ = (
        "_halt",
        "_lock",
        "claimed_at",
        "ended_at",
        "is_stubborn",
        "is_withdrawn",
        "job",
        "key",
        "lease",
        "leased_at",
        "ledger_place",
        "started_at",
        "stop_reason",
        "stopped_at",
        "task",
        "turns",
    )

    def __init__(self, job: ClaimedJob, task: QueueTask, leased_at: float) -> None:
        self.job = job
        self.key: DataKey | None = None
        self.lease = Lease(job.id, job.fence)
        self.task = task
        self.leased_at = leased_at
        self.claimed_at = time.monotonic()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.turns = 1.0
        self.is_withdrawn = False
        self.is_stubborn = False
        self.stop_reason: Stop | None = None
        self.stopped_at: float | None = None
        self.ledger_place: int | None = None
        self._halt: Callable[[Stop], None] | None = None
        self._lock = threading.Lock()

    @property
    def timeout_seconds(self) -> float:
        """How long it may run: as the job says, or its task, or the installation."""
        return self.job.timeout_seconds or self.task.timeout or conf().default_timeout_seconds

    def begin(self) -> bool:
        """The job starts now; False if it was withdrawn before, or has to be, and must not."""
        with self._lock:
            now = time.monotonic()
            if self.is_withdrawn or self.is_stale(now):
                return False
            self.started_at = now
            return True

    def is_stale(self, now: float) -> bool:
        """Whether at the monotonic time `now` it is too late to start it: it goes back."""
        return self.started_at is None and now - self.claimed_at > MAX_BUFFERED_SECONDS

    def withdraw(self) -> bool:
        """Keep the job from starting; False if it has started already."""
        with self._lock:
            self.is_withdrawn = self.started_at is None
            return self.is_withdrawn

    def interruptible(self, halt: Callable[[Stop], None]) -> None:
        """From now on `halt` stops the job's code; at once if a stop was asked for before.

        `halt` is called under the job's lock and must not wait.
        """
        with self._lock:
            self._halt = halt
            if self.stop_reason:
                halt(self.stop_reason)

    def uninterruptible(self) -> None:
        """The job's code has ended: nothing may be halted any more."""
        with self._lock:
            self._halt = None
            self.ended_at = time.monotonic()

    def stop(self, reason: Stop) -> None:
        """Have the job stopped, unless its code has ended. The first reason counts."""
        with self._lock:
            if self.stop_reason is None and self.ended_at is None:
                self.stop_reason = reason
                self.stopped_at = time.monotonic()
                if self._halt:
                    self._halt(reason)

    def running_seconds(self, now: float) -> float:
        """How long the job has been running at the monotonic time `now`."""
        return 0 if self.started_at is None else now - self.started_at

    def more_turns(self, now: float) -> float:
        """The turns it has held its slot for since this was last asked."""
        turns = self.running_seconds(self.ended_at or now) / TURN_SECONDS
        more = max(0.0, turns - self.turns)
        self.turns += more
        return more


class HeldJobs:
    """All of them, with the room for more. Safe for threads.

    A job that was given back may be claimed again by this very process before it has let go of the
    first lease: then it is in here twice.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._jobs: set[HeldJob] = set()
        self._changed = threading.Condition()
        self._left: list[HeldJob] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, held: Collection[HeldJob]) -> None:
        """Take jobs in."""
        with self._changed:
            self._jobs.update(held)

    def remove(self, held: Collection[HeldJob]) -> None:
        """The store has answered about these: their room is free."""
        with self._changed:
            self._jobs.difference_update(held)
            self._left += held
            self._changed.notify_all()

    def snapshot(self) -> list[HeldJob]:
        """The jobs held now."""
        with self._changed:
            return list(self._jobs)

    def to_be_charged(self) -> tuple[list[HeldJob], list[HeldJob]]:
        """The jobs held now, and those that have left since this was last asked."""
        with self._changed:
            left, self._left = self._left, []
            return list(self._jobs), left

    def wait_recorded(self, timeout: float) -> bool:
        """Wait until no job that has ended is held; answers whether that was so in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not any(held.ended_at for held in self._jobs), timeout
            )

    def wait_empty(self, timeout: float) -> bool:
        """Wait until no job is held; answers whether that was so in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout)
