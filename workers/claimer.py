"""The claimer: keeps the slots busy with claimed jobs, in fair shares."""

import logging
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.db import OperationalError

from jobs import store
from jobs.conf import conf
from jobs.data_keys import key_of
from jobs.encryption import BROKEN, Owner, open_payload
from jobs.errors import UNREADABLE, SealBroken, UnknownTask
from jobs.registry import QueueTask, find
from jobs.remote import LeftToOthers
from jobs.shares import FairShares
from jobs.statuses import Status
from jobs.store import ClaimedJob, Lease, Marks, Outcome, ReadyLane, Share
from workers.begins import Begins
from workers.held import HeldJob, HeldJobs
from workers.pace import Pace
from workers.role import Role

START_SECONDS = 0.002
"""A job that an idle worker has just got begins before the worker looks for more."""
LOOK_SECONDS = 0.02
"""What a look has found is believed for so long, and for twice as long as the look took."""
LEAVE_SECONDS = 0.1
LEAVE_EVERY_SECONDS = (0.5, 1.5)
"""Now and then a worker leaves the places of contended lanes for so long to others, who look for
them as often: who frees a place would always be the first to take it."""
DOUBTS = 2
DOUBT_SECONDS = 1.0
"""After a claim that failed its leases are looked for so often, with so much time in between: the
server may still be at it."""
PATIENCE_SECONDS = 0.02
"""Outcomes that are about to free places for the next jobs wait so long for a look to end."""

_log = logging.getLogger(__name__)


class Claimer(Role):
    """Claims what can start within a moment: the free slots, and what the pace allows on top."""

    def __init__(
        self,
        worker: str,
        held: HeldJobs,
        *,
        queues: Collection[str],
        tags: Collection[str],
        run: Callable[[Sequence[HeldJob]], None],
    ) -> None:
        super().__init__("claimer")
        self._worker = worker
        self._held = held
        self._queues = queues
        self._tags = tags
        self._run_jobs = run
        self._shares = FairShares()
        self._pace = Pace()
        self._begins = Begins()
        self._seen: dict[int, ReadyLane] = {}
        self._look_again_at = 0.0
        self._leave_at = 0.0
        self._is_fresh = False
        self._is_told = False
        self._is_quiet = False
        self._is_relaying = False
        self._last: ReadyLane | None = None
        self._tasks: dict[str, QueueTask] = {}
        self._unknown: set[str] = LeftToOthers()
        self._disappointments = 0
        self._strange: list[Lease] = []
        self._doubts = 0
        self._doubt_at = 0.0
        self._turn = threading.Lock()

    def hear(self) -> None:
        """Somebody says that there is work."""
        self._is_told = True
        self.wake()

    def set_quiet(self, is_quiet: bool) -> None:
        """Claim nothing from now on, or claim again."""
        self._is_quiet = is_quiet
        self.wake()

    def stop(self, timeout: float = 5) -> bool:
        """End; once it answers True nothing more is claimed, by the finisher neither."""
        if not (super().stop(timeout) and self._turn.acquire(timeout=timeout)):
            return False
        self._turn.release()
        return True

    def tick(self) -> float:
        """Claim once if there is room."""
        with self._turn:
            return self._claim_once()

    def finish(self, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
        """Record outcomes, as `store.finish` does; for the finisher, in its thread.

        Where limits alone hold the next jobs back, the places that these free are taken in the
        same commit: a job of a tenant at its limit waits for one instead of two.
        """
        if self._turn.acquire(timeout=PATIENCE_SECONDS if self._is_relaying else 0):
            try:
                shares = self._successors(outcomes)
                self._is_relaying = bool(shares)
                if shares:
                    return self._relay(outcomes, shares)
            except OperationalError as error:
                if not store.was_held_up(error):
                    raise
            finally:
                self._turn.release()
        return store.finish(self._worker, outcomes)

    def _successors(self, outcomes: Sequence[Outcome]) -> list[Share]:
        """The shares that take the places of these; none if others could have a claim to them."""
        if not self._may_relay() or any(one.status is not Status.DONE for one in outcomes):
            return []
        self._settle()
        lanes = self._without(outcomes)
        free = self._pace.buffer(self._held.slots) + self._held.slots - len(self._held)
        places = len(outcomes) + min(0, free)
        return self._shares.divide(lanes, places) if places > 0 and _are_simple(lanes) else []

    def _may_relay(self) -> bool:
        """Whether this worker goes on, and all there is to claim, by a look of now, has limits."""
        is_known = self._seen and time.monotonic() < self._look_again_at + LOOK_SECONDS
        if not is_known or self._is_told or self._is_quiet or self._stopping.is_set():
            return False
        return _are_simple(self._seen.values())

    def _without(self, outcomes: Sequence[Outcome]) -> list[ReadyLane]:
        """The lanes of the tenants of these, with their places; none if others have room, too."""
        ended = Counter(one.lane_id for one in outcomes)
        of_tenants = Counter(one.tenant_id for one in outcomes)
        lanes = []
        for lane in self._seen.values():
            if freed := of_tenants[lane.tenant_id]:
                lanes.append(lane.less(-ended[lane.lane_id], of_tenant=-freed))
            elif lane.has_room:
                return []
        return lanes

    def _relay(self, outcomes: Sequence[Outcome], shares: Sequence[Share]) -> set[uuid.UUID]:
        with self._taking(shares) as taken:
            asked_at = time.monotonic()
            recorded, claimed = store.relay(
                self._worker,
                outcomes,
                shares,
                lease_seconds=conf().lease_seconds,
                unknown=self._unknown,
                tags=self._tags,
                after=self._begins.marks,
            )
            taken.update(self._take_on(claimed, asked_at))
        return recorded

    def _claim_once(self) -> float:
        self.return_strange()
        self._return_unknown()
        self._settle()
        if self._is_quiet:
            return conf().poll_interval_seconds
        buffer = self._pace.buffer(self._held.slots)
        room = self._held.slots + buffer - len(self._held)
        if room <= buffer // 2:
            return conf().poll_interval_seconds
        is_told, self._is_told = self._is_told, False
        with self._begins.timed() as after:
            if is_told and self._claim_another(after):
                return START_SECONDS
            if is_told and not any(lane.has_room for lane in self._seen.values()):
                self._seen = {}
            return self._claim_up_to(min(room, conf().claim_batch), after)

    def _claim_another(self, after: Marks) -> bool:
        """Claim one job of the lane that the last ones were of, unseen; was there one?

        An idle worker that hears of work nearly always finds it there: that spares the job a look.
        """
        lane, self._last = self._last, None
        if lane is None or self._seen:
            return False
        self._seen = {lane.lane_id: lane}
        return self._claim(self._shares.divide([lane], 1), after)

    def _claim_up_to(self, places: int, after: Marks) -> float:
        lanes = self._look(after)
        if self._leaves_places():
            lanes = [lane for lane in lanes if not lane.is_contended]
        shares = self._shares.divide(lanes, places)
        if not shares:
            return self._wait_for_places(lanes)
        if self._claim(shares, after):
            self._disappointments = 0
            return 0
        return self._wait_after_nothing()

    def _leaves_places(self) -> bool:
        """Whether those of contended lanes are for others at this moment."""
        now = time.monotonic()
        if now >= self._leave_at + LEAVE_SECONDS:
            self._leave_at = now + random.uniform(*LEAVE_EVERY_SECONDS)  # noqa: S311
        return now >= self._leave_at

    def _wait_for_places(self, lanes: Sequence[ReadyLane]) -> float:
        waits = [conf().poll_interval_seconds, self._begins.next_in()]
        waits += [lane.opens_in for lane in lanes if lane.opens_in]
        if not self._is_fresh:  # there may be more than the last look has seen
            waits.append(max(0.001, self._look_again_at - time.monotonic()))
        if any(lane.is_contended for lane in self._seen.values()):
            waits.append(random.uniform(0.3, 1) * LEAVE_SECONDS)  # noqa: S311
        return min(waits)

    def _look(self, after: Marks) -> list[ReadyLane]:
        """The lanes with ready jobs, as the last look found them if that was a moment ago."""
        started = time.monotonic()
        self._is_fresh = not self._seen or started > self._look_again_at
        if self._is_fresh:
            found = store.ready_lanes(
                self._queues,
                unknown=self._unknown,
                tags=self._tags,
                after=after,
                own={held.job.tenant_id for held in self._held.snapshot()},
            )
            self._seen = {lane.lane_id: lane for lane in found}
            ended = time.monotonic()
            self._look_again_at = ended + max(LOOK_SECONDS, 2 * (ended - started))
        return list(self._seen.values())

    def _settle(self) -> None:
        """Let tenants pay for the slots that their jobs have held; learn how long that was."""
        now = time.monotonic()
        held, ended = self._held.to_be_charged()
        self._pace.note(ended, held, now)
        self._make_room(ended)
        for one in (*held, *ended):
            if turns := one.more_turns(now):
                self._shares.prolong(one.job.tenant_id, one.job.lane_id, turns)

    def _wait_after_nothing(self) -> float:
        """Work was seen and none was got: another claimer held it.

        That is over in a moment, or lasts for as long as the other is faster.
        """
        self._disappointments += 1
        longest = min(conf().poll_interval_seconds, 0.005 * 2 ** min(self._disappointments, 20))
        return random.uniform(longest / 2, longest)  # noqa: S311

    def _claim(self, shares: Sequence[Share], after: Marks) -> bool:
        """Claim the shares, those to be had at once apart, as that is quicker; was any got?"""
        with self._taking(shares) as taken:
            for at_once in (True, False):
                if some := [share for share in shares if bool(share.only_line) is at_once]:
                    taken.update(self._claim_some(some, after))
        return bool(taken)

    @contextmanager
    def _taking(self, shares: Sequence[Share]) -> Iterator[Counter[int]]:
        """Charge what is taken of the shares, jobs by lane, and remember what is left."""
        taken: Counter[int] = Counter()
        try:
            yield taken
        except Exception:
            self._doubts, self._doubt_at = DOUBTS, 0.0
            raise
        finally:
            self._shares.charge(taken)
            self._remember(shares, taken)

    def _claim_some(self, shares: Sequence[Share], after: Marks) -> Counter[int]:
        asked_at = time.monotonic()
        claimed = store.claim(
            self._worker,
            shares,
            lease_seconds=conf().lease_seconds,
            unknown=self._unknown,
            tags=self._tags,
            after=after,
        )
        taken = self._take_on(claimed, asked_at)
        self.return_strange()
        return taken

    def _take_on(self, claimed: Sequence[ClaimedJob], asked_at: float) -> Counter[int]:
        self._begins.note(claimed)
        return Counter(one.job.lane_id for one in self._start(claimed, asked_at))

    def _make_room(self, ended: Sequence[HeldJob]) -> None:
        """Give back the places of jobs that have ended to what is left of the last look."""
        lanes = Counter(one.job.lane_id for one in ended)
        tenants = Counter(one.job.tenant_id for one in ended)
        for lane in list(self._seen.values()):
            if lane.tenant_id in tenants:
                freed = -tenants[lane.tenant_id]
                self._seen[lane.lane_id] = lane.less(-lanes[lane.lane_id], of_tenant=freed)

    def _remember(self, shares: Sequence[Share], taken: Mapping[int, int]) -> None:
        """What is left of the last look: a lane that gave less than its share has no more."""
        of_tenant: Counter[int] = Counter()
        for share in shares:
            lane = self._seen.pop(share.lane_id)
            of_tenant[lane.tenant_id] += taken[share.lane_id]
            if taken[share.lane_id] and share.only_line and not share.limited_tenant:
                self._last = lane
            if taken[share.lane_id] == share.quota:
                self._seen[lane.lane_id] = lane.less(share.quota, of_tenant=0)
        for lane in [lane for lane in self._seen.values() if lane.tenant_id in of_tenant]:
            self._seen[lane.lane_id] = lane.less(0, of_tenant=of_tenant[lane.tenant_id])

    def _start(self, claimed: Sequence[ClaimedJob], asked_at: float) -> list[HeldJob]:
        """Have the jobs run that this process can run; answers those. The others were not got."""
        known = [job for job in claimed if self._knows(job.task)]
        held = [HeldJob(job, self._tasks[job.task], asked_at) for job in known]
        if any(job.key_id for job in known):
            held = [one for one in held if not one.job.key_id or self._can_open(one)]
        self._held.add(held)
        self._run_jobs(held)
        self._strange += [Lease(job.id, job.fence) for job in claimed if job.task in self._unknown]
        return held

    def _can_open(self, held: HeldJob) -> bool:
        """Open the payload; if its key has just gone, the job goes back unspent.

        Until the key is there again, the store leaves such jobs out. A payload that was tampered
        with becomes `BROKEN`, which the attempt makes its failure.
        """
        job = held.job
        try:
            held.key = key_of(job.key_id)
            owner = Owner(job.tenant_id, job.id)
            payload = open_payload(owner, job.payload, sealed_with=job.sealed_with)
        except SealBroken:
            payload = BROKEN
        except UNREADABLE:
            self._strange.append(held.lease)
            return False
        held.job = job._replace(payload=payload)
        return True

    def return_strange(self) -> None:
        """Give back jobs that nobody here can run; if that fails, the next tick does."""
        if self._strange:
            store.release(self._strange)
            self._strange = []

    @property
    def is_in_doubt(self) -> bool:
        """Whether there may be leases that it does not know of."""
        return self._doubts > 0

    def _return_unknown(self) -> None:
        """Give back what was claimed in a call whose answer was lost, before it counts as lost."""
        if not self._doubts or time.monotonic() < self._doubt_at:
            return
        held = {one.lease for one in self._held.snapshot()}
        if leases := [lease for lease in store.leases_of(self._worker) if lease not in held]:
            store.release(leases)
            fields = {"worker": self._worker, "count": len(leases)}
            _log.warning("the answer to a claim was lost; its jobs were given back", extra=fields)
        self._doubts, self._doubt_at = self._doubts - 1, time.monotonic() + DOUBT_SECONDS

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


def _are_simple(lanes: Iterable[ReadyLane]) -> bool:
    """Whether all that have room are limited, in ways that a claim at once can keep alone."""
    return all(
        lane.only_line and lane.is_limited and not lane.is_contended
        for lane in lanes
        if lane.has_room
    )
