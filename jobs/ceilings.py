"""How far a tenant may go when it sets its own limits: to what its operator has set, no further.

While a tenant has a limit of its own, what the operator had set is kept beside it (`ceilings`). An
operator who sets that limit again has the last word: it is the limit, and the ceiling.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from jobs.errors import AboveCeiling
from jobs.models import Lane, TaskLimit, Tenant

Limited = Tenant | Lane | TaskLimit

FREE = frozenset({"weight"})
"""What has no ceiling: a queue's share of what its tenant gets is its tenant's affair."""


def ceiling(limited: Limited, name: str) -> int | None:
    """The most that the tenant may set there; None for no end.

    Where the operator has set no pace, the tenant's own may come in bursts of any size.
    """
    if name == "start_burst" and ceiling(limited, "starts_per_minute") is None:
        return None
    kept = limited.ceilings or {}
    value: int | None = kept[name] if name in kept else getattr(limited, name)
    return value


def refuse_above(limited: Limited, changes: Mapping[str, Any]) -> None:
    """Raise `AboveCeiling` if a tenant may not make these changes itself."""
    for name, value in changes.items():
        most = None if name in FREE else ceiling(limited, name)
        if most is not None and (value is None or value > most):
            raise AboveCeiling(
                f"{name} may be {most} at most, which your operator has set.", pointer=name
            )


def with_burst(limited: Limited, changes: Mapping[str, Any]) -> dict[str, Any]:
    """An operator's changes, and the burst that goes with a pace that is set without one.

    A tenant without a pace of its operator may have had a burst of any size.
    """
    kept = (limited.ceilings or {}).get("start_burst")
    is_pace_alone = changes.get("starts_per_minute") is not None and "start_burst" not in changes
    if is_pace_alone and kept is not None and limited.start_burst > kept:
        return {**changes, "start_burst": kept}
    return dict(changes)


def kept_beside(limited: Limited, changes: Iterable[str], *, by_tenant: bool) -> Any:
    """What `ceilings` becomes when these limits are changed, asked before they are."""
    kept = dict(limited.ceilings or {})
    for name in changes:
        if not by_tenant:
            kept.pop(name, None)
        elif name not in FREE:
            kept.setdefault(name, getattr(limited, name))
    return kept or None
