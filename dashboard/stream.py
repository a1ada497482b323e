"""The one feed of a server process: a small read a second while somebody watches.

However many browsers and whatever the throughput, the database is read once a second and nobody is
told more than names of regions. A subscriber holds a set of names, so what it has not fetched yet
never grows.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from channels.db import database_sync_to_async
from django.db import connections

from dashboard.snapshot import REGIONS, Snapshot, changed_regions, read_snapshot

INTERVAL_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 15.0

Read = Callable[[Collection[int] | None], Awaitable[Snapshot]]

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Subscriber:
    """A socket's view of the feed. `tenant_ids` of None: all tenants."""

    tenant_ids: frozenset[int] | None
    pending: set[str] = field(default_factory=lambda: set(REGIONS))
    is_behind: bool = False
    """Whether the database cannot be read at the moment."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.news.set()

    def tell(self, changed: dict[str, set[int]]) -> None:
        """Remember the regions that changed for one of its tenants."""
        mine = {region for region, ids in changed.items() if self._concerns(ids)}
        if mine or self.is_behind:
            self.is_behind = False
            self.pending |= mine
            self.news.set()

    def _concerns(self, ids: set[int]) -> bool:
        return self.tenant_ids is None or not self.tenant_ids.isdisjoint(ids)

    def tell_trouble(self) -> None:
        """Remember that the database cannot be read."""
        if not self.is_behind:
            self.is_behind = True
            self.news.set()

    def take(self) -> list[str]:
        """The regions to fetch, which are then no longer pending."""
        taken = sorted(self.pending)
        self.pending.clear()
        self.news.clear()
        return taken


class DatabaseReader:
    """Reads snapshots in a thread of its own, so that a slow database holds up nobody else."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-feed")
        self._read = database_sync_to_async(
            read_snapshot, thread_sensitive=False, executor=self._thread
        )

    async def __call__(self, tenant_ids: Collection[int] | None) -> Snapshot:
        """The figures of these tenants. Raises what the database raises."""
        return await self._read(tenant_ids)

    def close(self) -> None:
        """End the thread and its connection, without waiting for either."""
        self._thread.submit(connections.close_all)
        self._thread.shutdown(wait=False)


class Feed:
    """Reads while there are subscribers, and tells each what changed for its tenants."""

    def __init__(
        self, open_reader: Callable[[], Read] = DatabaseReader, interval: float = INTERVAL_SECONDS
    ) -> None:
        self._open_reader = open_reader
        self._interval = interval
        self.latest: Snapshot = {}
        """What was read last, for whom there were subscribers then."""
        self._subscribers: set[Subscriber] = set()
        self._task: asyncio.Task[None] | None = None

    def join(self, subscriber: Subscriber) -> None:
        """Add a subscriber; the first one starts the reading."""
        self._subscribers.add(subscriber)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch(), name="live-feed")

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; the last one ends the reading."""
        self._subscribers.discard(subscriber)
        if not self._subscribers and self._task:
            self._task.cancel()
            self._task = None
            self.latest = {}

    async def _watch(self) -> None:
        read = self._open_reader()
        try:
            await self._read_on(read)
        finally:
            if isinstance(read, DatabaseReader):
                read.close()

    async def _read_on(self, read: Read) -> None:
        """Read and tell, for ever. A database that is away is asked again, ever more seldom."""
        before: Snapshot = {}
        failures = 0
        while True:
            try:
                after = await read(self._tenant_ids())
            except Exception:
                failures += 1
                _log.warning("the live feed cannot read the database", exc_info=failures == 1)
                self._tell_trouble()
            else:
                failures = 0
                self.latest = after
                self._tell(changed_regions(before, after))
                before = after
            await asyncio.sleep(self._pause(failures))

    def _tenant_ids(self) -> frozenset[int] | None:
        """Whom all subscribers together watch."""
        watched: set[int] = set()
        for subscriber in self._subscribers:
            if subscriber.tenant_ids is None:
                return None
            watched |= subscriber.tenant_ids
        return frozenset(watched)

    def _tell(self, changed: dict[str, set[int]]) -> None:
        for subscriber in self._subscribers:
            subscriber.tell(changed)

    def _tell_trouble(self) -> None:
        for subscriber in self._subscribers:
            subscriber.tell_trouble()

    def _pause(self, failures: int) -> float:
        backoff = min(self._interval * 2 ** min(failures, 10), MAX_BACKOFF_SECONDS)
        return backoff * random.uniform(0.8, 1.2) if failures else self._interval  # noqa: S311


feed = Feed()
"""The feed of this process."""
