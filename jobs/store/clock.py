"""What time it is."""

from datetime import UTC, datetime

from jobs.store.dialect import fetch

_NOW = "SELECT NOW()"


def now() -> datetime:
    """The time by the database's clock."""
    ((value,),) = fetch(_NOW, {})
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime.fromisoformat(value).replace(tzinfo=UTC)
