"""The cache that the web processes share: what is counted in it, and what is not worked out twice.

Nothing is lost with it. While it is away nothing is counted, everybody passes and all is worked out
anew, which is told once in a while: there may be thousands of calls a second.
"""

import logging
import math
import time
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest
from django_ratelimit.core import get_usage

TROUBLE_IS_TOLD_EVERY = 60.0
"""Seconds."""
_told_at: dict[str, float] = {}
_log = logging.getLogger(__name__)


def get(key: str) -> Any:
    """What is kept under this key; None where nothing is, or the cache is away."""
    try:
        return cache.get(key)
    except Exception:
        _tell_of_trouble("what was worked out is not found")
        return None


def put(key: str, value: Any, seconds: int) -> None:
    """Keep it for so long, if the cache is there."""
    try:
        cache.set(key, value, timeout=seconds)
    except Exception:
        _tell_of_trouble("what was worked out is not kept")


def seconds_to_wait(request: HttpRequest, group: str, key: Any, limit: int) -> int:
    """Count one of `group`, of which `key` may have `limit` in a minute.

    0 within the limit, otherwise the seconds until the minute ends. 0 as well where the cache
    cannot count, whatever it raises.
    """
    try:
        usage = get_usage(
            request, group=f"jobs.{group}", key=key, rate=f"{limit}/m", increment=True
        )
    except Exception:
        _tell_of_trouble(f"{group} are not counted")
        return 0
    if usage is None or not usage["should_limit"]:
        return 0
    if not usage["count"]:  # the cache gave no answer, which the library takes for a refusal
        _tell_of_trouble(f"{group} are not counted")
        return 0
    return max(1, int(usage["time_left"]))


def _tell_of_trouble(what: str) -> None:
    now = time.monotonic()
    if now >= _told_at.get(what, -math.inf) + TROUBLE_IS_TOLD_EVERY:
        _told_at[what] = now
        _log.warning("the cache is away: %s", what, exc_info=True)
