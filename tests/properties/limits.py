"""Limits of running jobs and of starts, said once more: no database, no clock."""

from dataclasses import dataclass

SECONDS_EACH = 60
"""Starts are paced by one a minute, or not at all."""
SET_BACK = 60
"""Seconds by which a clock is set back without a limit forgetting what was before."""


@dataclass
class Limit:
    """How many jobs may run at once; whether starts are paced, `burst` of them at one moment."""

    max_running: int | None = None
    is_paced: bool = False
    burst: int = 1
    paid_off_at: int | None = None

    @property
    def is_none(self) -> bool:
        """Whether it limits nothing."""
        return self.max_running is None and not self.is_paced

    def places(self, running: int, now: int) -> int | None:
        """How many more jobs may start now; None where nothing limits them."""
        found = [] if self.max_running is None else [self.max_running - running]
        if self.is_paced:
            owed = -(-self._ahead(now) // SECONDS_EACH)
            found.append(self.burst - owed)
        return max(0, min(found)) if found else None

    def opens_in(self, now: int) -> int:
        """Seconds until the pace allows the next start."""
        free = (self.burst - 1) * SECONDS_EACH
        return max(0, self._ahead(now) - free) if self.is_paced else 0

    def pay(self, now: int) -> None:
        """A job has started."""
        if self.is_paced:
            self.paid_off_at = now + self._ahead(now) + SECONDS_EACH

    def change(self, max_running: int | None, is_paced: bool, burst: int, now: int) -> None:
        """Limit otherwise; of the starts that there were, as many are owed as the burst has."""
        if not (self.is_paced and is_paced):
            self.paid_off_at = None
        elif self.paid_off_at is not None:
            self.paid_off_at = min(self.paid_off_at, now + burst * SECONDS_EACH)
        self.max_running, self.is_paced, self.burst = max_running, is_paced, burst

    def _ahead(self, now: int) -> int:
        """What is further ahead than starts can make it is of before the clock was set back."""
        ahead = 0 if self.paid_off_at is None else max(0, self.paid_off_at - now)
        return ahead if ahead <= self.burst * SECONDS_EACH + SET_BACK else 0


def as_fields(max_running: int | None, is_paced: bool, burst: int) -> dict[str, int | None]:
    """A limit as the services take it."""
    pace = 60 // SECONDS_EACH if is_paced else None
    return {"max_running": max_running, "starts_per_minute": pace, "start_burst": burst}
