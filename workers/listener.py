"""The listener: notices that there may be work. Polling stays the truth; this makes it quick."""

from collections.abc import Callable

from jobs.wakeup import Ears
from workers.role import Role

LISTEN_SECONDS = 1.0
LOOK_SECONDS = 0.008
"""How often a change of the SQLite file is looked for."""


class Listener(Role):
    """Says what it hears, and that it may have missed something."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__("listener")
        self._heard = heard
        self._ears = Ears(look_seconds=LOOK_SECONDS)

    def tick(self) -> float:
        """Listen for a moment."""
        if self._ears.heard(LISTEN_SECONDS):
            self._heard()
        return 0
