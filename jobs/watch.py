"""Waiting for rows to change, on an event loop: one small read at a time, for all who wait.

Who waits is a future and nothing else: it holds no thread and no connection. Both are there once,
while anybody waits.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

from django.db import Error, connections

REST = 4
"""After a read, there is none for so many times as long as that took."""
READ_AT_ONCE = 500
"""Keys that one query names."""
MAX_TROUBLE_SECONDS = 10.0

_log = logging.getLogger(__name__)
K = TypeVar("K")


class Watch(Generic[K]):
    """Reads the marks of rows, by their keys, once in `seconds`; a row that is gone has none."""

    def __init__(
        self, name: str, read: Callable[[Collection[K]], Mapping[K, object]], *, seconds: float
    ) -> None:
        self._name = name
        self._read = read
        self._seconds = seconds
        self._waiters: dict[asyncio.Future[None], tuple[K, object]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiters)

    async def changed(self, key: K, mark: object) -> None:
        """Return when the row has another mark than this one, or is gone."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters[waiter] = key, mark
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._watch(), name=self._name)
        try:
            await waiter
        finally:
            del self._waiters[waiter]
            if not self._waiters and self._task:
                self._task.cancel()
                self._task = None

    async def _watch(self) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        try:
            await self._read_on(thread)
        finally:
            thread.submit(connections.close_all)
            thread.shutdown(wait=False)

    async def _read_on(self, thread: ThreadPoolExecutor) -> None:
        """Read and wake, for ever. A database that is away is asked again, ever more seldom."""
        trouble = 0.0
        while True:
            began = time.monotonic()
            keys = {key for key, _ in self._waiters.values()}
            try:
                marks = await asyncio.get_running_loop().run_in_executor(
                    thread, self._read_safely, keys
                )
            except Exception:
                _log.warning("%s cannot read the database", self._name, exc_info=not trouble)
                trouble = min(2 * trouble or self._seconds, MAX_TROUBLE_SECONDS)
            else:
                trouble = 0.0
                self._wake(marks, keys)
            took = time.monotonic() - began
            await asyncio.sleep(max(self._seconds, REST * took, trouble))

    def _read_safely(self, keys: Collection[K]) -> Mapping[K, object]:
        marks: dict[K, object] = {}
        left = iter(keys)
        try:
            while some := list(islice(left, READ_AT_ONCE)):
                marks.update(self._read(some))
        except Error:
            connections.close_all()  # it may be broken, and no request begins here to find out
            raise
        return marks

    def _wake(self, marks: Mapping[K, object], asked: Collection[K]) -> None:
        for waiter, (key, mark) in self._waiters.items():
            if key in asked and marks.get(key) != mark and not waiter.done():
                waiter.set_result(None)
