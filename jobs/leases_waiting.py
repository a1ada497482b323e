"""Workers that wait for jobs over REST: one thread of each process watches for all of them.

A waiting worker is a future and nothing else. The thread runs while there are any: it hears what
wakes idle workers (`wakeup`), and looks for jobs then, and once in `poll_interval_seconds` whatever
it heard. It wakes as many as there are jobs for; what they get is decided by their own claims.
"""

import asyncio
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

from django.db import Error, connections

from jobs.conf import conf
from jobs.leases import Wish, see_again
from jobs.store.lines import Line
from jobs.store.offers import Offer, offers
from jobs.wakeup import Ears

SLICE_SECONDS = 0.1
"""How long a thread that nobody needs any more may still listen."""
LOOK_SECONDS = 0.02
"""How often a change of the SQLite file is looked for."""
REST = 4
"""After a look, the watcher rests for so many times as long as that took."""
MAX_TROUBLE_SECONDS = 10.0
MAX_COUNTED = 1_000
"""So many jobs of a line are counted in one look; where there may be more, another follows."""

_log = logging.getLogger(__name__)


class Waiter:
    """A worker that waits on its event loop."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._loop = asyncio.get_running_loop()
        self.woken: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """From any thread: let it try again."""
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # its loop has ended, and whoever waited with it
            _log.debug("a waiting worker was gone")

    def _wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Watcher:
    """The waiting workers of this process, and the thread that wakes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[Waiter, None] = {}  # in the order in which they came
        self._thread: threading.Thread | None = None

    def join(self, waiter: Waiter) -> None:
        """Watch for this worker, too."""
        with self._lock:
            self._waiters[waiter] = None
            if self._thread is None or not self._thread.is_alive():  # it does not live on in a fork
                self._thread = threading.Thread(target=self._watch, name="lease-watch", daemon=True)
                self._thread.start()

    def leave(self, waiter: Waiter) -> None:
        """Forget the worker. The last one ends the thread, in a moment."""
        with self._lock:
            self._waiters.pop(waiter, None)

    async def may_have_jobs(self, wish: Wish) -> None:
        """Return when there may be a job for it."""
        waiter = Waiter(wish)
        self.join(waiter)
        try:
            await waiter.woken
        finally:
            self.leave(waiter)

    def _watch(self) -> None:
        trouble = 0.0
        while not self._is_over():
            try:
                self._listen_and_look()
                trouble = 0.0
            except Error:
                connections.close_all()
                _log.warning("waiting workers cannot be woken", exc_info=not trouble)
                trouble = min(2 * trouble or 0.5, MAX_TROUBLE_SECONDS)
                time.sleep(trouble)
        connections.close_all()

    def _is_over(self) -> bool:
        with self._lock:
            if not self._waiters:
                self._thread = None
            return not self._waiters

    def _listen_and_look(self) -> None:
        """Until nobody waits. Raises what the database raises."""
        ears = Ears(look_seconds=LOOK_SECONDS)
        ears.open()
        while self._waiters:
            began = time.monotonic()
            seen = self._look()
            is_settled = not self._wake_for(seen) or all(x.jobs < MAX_COUNTED for x in seen)
            time.sleep(min(1.0, max(LOOK_SECONDS, REST * (time.monotonic() - began))))
            until = time.monotonic() + (conf().poll_interval_seconds if is_settled else 0)
            while self._waiters and not ears.heard(SLICE_SECONDS) and time.monotonic() < until:
                continue

    def _look(self) -> list[Offer]:
        with self._lock:
            wishes = [waiter.wish for waiter in self._waiters]
        see_again({wish.worker for wish in wishes})
        wanted = min(MAX_COUNTED, sum(wish.max_jobs for wish in wishes))
        return offers({wish.tenant.pk for wish in wishes}, most=wanted) if wishes else []

    def _wake_for(self, seen: Sequence[Offer]) -> int:
        """Wake who comes first, and no more than there are jobs for; answers how many."""
        woken = 0
        left = Counter({offer.line.id: offer.jobs for offer in seen})
        of_tenant: dict[int, list[Line]] = defaultdict(list)
        for offer in seen:
            of_tenant[offer.line.tenant_id].append(offer.line)
        with self._lock:
            for waiter in [x for x in self._waiters if x.wish.tenant.pk in of_tenant]:
                lines = of_tenant[waiter.wish.tenant.pk]
                if able := [x.id for x in lines if left[x.id] and waiter.wish.suits(x)]:
                    _take(left, able, waiter.wish.max_jobs)
                    del self._waiters[waiter]
                    waiter.wake()
                    woken += 1
        return woken


def _take(left: Counter[int], lines: Sequence[int], jobs: int) -> None:
    for line_id in lines:
        taken = min(jobs, left[line_id])
        left[line_id] -= taken
        jobs -= taken


watcher = Watcher()
"""The watcher of this process."""
