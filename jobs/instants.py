"""How instants are written for the outside."""

from datetime import UTC, datetime, timedelta
from typing import overload


@overload
def instant(moment: datetime) -> str: ...
@overload
def instant(moment: datetime | None) -> str | None: ...
def instant(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond: `2030-01-01T00:00:00.000000Z`."""
    if moment is None:
        return None
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def told(moment: datetime) -> str:
    """For people, to the second: `2030-01-01 00:00:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def example() -> str:
    """An instant to show to those who wrote one wrongly: tomorrow's midnight, in seconds."""
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT00:00:00Z}"
