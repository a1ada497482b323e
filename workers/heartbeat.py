"""The heartbeat: extends the leases of the process's jobs and reports that it is alive."""

import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs import store
from jobs.conf import conf
from jobs.models import Worker
from jobs.statuses import WorkerRequest
from workers.held import HeldJob, HeldJobs, Stop
from workers.role import Role

_log = logging.getLogger(__name__)
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Heartbeat(Role):
    """One statement for all jobs. Its answer also says what was cancelled and what was lost.

    `register` announces the process anew: while its machine slept, it was taken for long gone.
    `obey` is called with what people ask the process to do, whenever that has changed.
    """

    def __init__(
        self,
        worker: str,
        held: HeldJobs,
        *,
        register: Callable[[], None],
        obey: Callable[[str], None],
    ) -> None:
        super().__init__("heartbeat")
        self._worker = worker
        self._held = held
        self._register = register
        self._obey = obey
        self._asked_to = ""

    def tick(self) -> float:
        """Beat once."""
        held = self._held.snapshot()
        if held:
            self._extend(held)
        asked_to = store.beat(self._worker, running=len(held), memory_bytes=_memory_bytes())
        if asked_to is None:
            self._register_anew()
        else:
            self._listen(asked_to)
        return conf().heartbeat_seconds

    def _register_anew(self) -> None:
        """It goes on doing what it was asked last."""
        self._register()
        is_quiet = self._asked_to == WorkerRequest.QUIET
        own = Worker.objects.filter(pk=self._worker)
        own.update(asked_to=self._asked_to, is_draining=is_quiet)

    def _listen(self, asked_to: str) -> None:
        """Pass on what is asked, until it was obeyed."""
        if asked_to != self._asked_to:
            self._obey(asked_to)
            self._asked_to = asked_to

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
            is_cancelled = answers[one.job.id]
            if is_cancelled is not None:
                one.leased_at = asked_at
            if is_cancelled:
                one.stop(Stop.CANCELLED)


def _memory_bytes() -> int:
    """The resident size of this process; where nothing tells it, the largest that it has had."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    return int(pages) * resource.getpagesize()
