"""A role: one thread of a worker process that does one thing again and again."""

import logging
import random
import threading
from abc import ABC, abstractmethod

from django.db import Error, connections

MAX_BACKOFF_SECONDS = 5
REST = 10
"""A look that takes long, as under a transaction that somebody left open, is followed by a rest of
so many times as long."""

_log = logging.getLogger(__name__)


class Role(ABC):
    """Calls `tick` in a thread of its own until it is stopped.

    `tick` answers the seconds to wait before the next one; `wake` cuts the wait short. When the
    database cannot be reached the role reconnects, with growing waits, for as long as it takes; any
    other error is logged and the role goes on: one bad tick must not end it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def tick(self) -> float:
        """Do the role's work once; answers the seconds until the next time."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Do the next tick now."""
        self._woken.set()

    def stop(self, timeout: float = 5) -> bool:
        """Ask the role to end and wait for it; answers whether it did in time."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(self._contained_tick())
            self._woken.clear()
        connections.close_all()

    def _contained_tick(self) -> float:
        try:
            wait = self.tick()
        except Error as error:
            connections.close_all()
            return self._back_off("the database did not answer; trying again", error)
        except Exception as error:
            return self._back_off("unexpected error; the role goes on", error)
        self._failures = 0
        return wait

    def _back_off(self, message: str, error: Exception) -> float:
        self._failures += 1
        _log.warning(f"{self.name}: {message}", exc_info=error if self._failures == 1 else None)
        self._woken.clear()
        return random.uniform(0, min(MAX_BACKOFF_SECONDS, 0.1 * 2 ** min(self._failures, 10)))  # noqa: S311
