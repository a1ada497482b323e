"""The heartbeat: extends the leases of the process's jobs and reports that it is alive."""

import logging
import resource
import sys
import time
from collections.abc import Callable

from django.db.models.functions import Now

from jobs import store
from jobs.conf import conf
from jobs.models import Worker
from workers.held import HeldJob, HeldJobs, Stop
from workers.role import Role

_log = logging.getLogger(__name__)
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Heartbeat(Role):
    """One statement for all jobs. Its answer also says what was cancelled and what was lost.

    `register` announces the process anew: while its machine slept, it was taken for long gone.
    """

    def __init__(self, worker: str, held: HeldJobs, register: Callable[[], None]) -> None:
        super().__init__("heartbeat")
        self._worker = worker
        self._held = held
        self._register = register

    def tick(self) -> float:
        """Beat once."""
        held = self._held.snapshot()
        if held:
            self._extend(held)
        own = Worker.objects.filter(pk=self._worker)
        if not own.update(seen_at=Now(), running=len(held), memory_bytes=_memory_bytes()):
            self._register()
        return conf().heartbeat_seconds

    def _extend(self, held: list[HeldJob]) -> None:
        """Of two leases on one job, only the later can be held."""
        latest = {one.job.id: one for one in sorted(held, key=lambda one: one.job.fence)}
        asked_at = time.monotonic()
        answers = store.extend(
            [one.lease for one in latest.values()], lease_seconds=conf().lease_seconds
        )
        for one in held:
            if one is not latest[one.job.id] or one.job.id not in answers:
                one.stop(Stop.LOST)
                continue
            one.leased_at = asked_at
            if answers[one.job.id]:
                one.stop(Stop.CANCELLED)


def _memory_bytes() -> int:
    """The largest resident size that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
