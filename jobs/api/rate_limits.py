"""The edge: how often an address may fail and a key may call, and the headers about limits.

Counts live in the cache that the web processes share (django-ratelimit, fixed windows of a
minute). A tenant's own limit on submissions is exact and belongs to the store, not to this file.
A process takes the calls of a key from that count in slices, so that few calls touch the cache.
While the cache is away nothing is counted and every call passes: a quota may fail open, but a
heartbeat that is refused lets its job run twice.
Headers: draft-ietf-httpapi-ratelimit-headers.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from jobs import store
from jobs.callers import counted_address
from jobs.conf import conf
from jobs.errors import IdempotencyMismatch, TooManyCalls, TooManyFailures, TooManyRequests
from jobs.keys import Scope, allows
from jobs.models import ApiKey, Tenant
from jobs.shared_cache import seconds_to_wait
from jobs.submission import NewJob

WINDOW_SECONDS = 60
MOST_REFUSED = 10_000
refused_until: dict[str, float] = {}
"""Until when (monotonic) failures of an address, or mismatches of a key, are refused, as far as
this process knows."""
MISMATCHES = 10
"""So many times a minute a key that may not read is told that a request is not the earlier one."""
SLICES = 200
"""A key's calls of a minute are handed to processes in so many slices; a few are not sliced."""
_calls_left: dict[str, int] = {}
"""What is left of each key's slice, by its prefix. Threads that race may call once too often."""


def count_failure(request: Request) -> None:
    """Count a wrong key against its address. Raises `TooManyFailures` above the limit."""
    limit = conf().authentication_failures_per_minute
    address = counted_address(request._request)
    seconds = math.ceil(refused_until.get(address, 0) - time.monotonic())
    if seconds <= 0:
        seconds = seconds_to_wait(request._request, "authentication failures", "ip", limit)
        _remember(address, seconds)
    if seconds:
        raise TooManyFailures(
            f"Too many wrong keys came from this address; try again in {seconds} seconds.",
            retry_after=seconds,
            limit=limit,
        )


def _remember(address: str, seconds: int) -> None:
    """That all failures from there are refused for so long: nobody has to count them."""
    if len(refused_until) >= MOST_REFUSED:
        refused_until.clear()
    if seconds:
        refused_until[address] = time.monotonic() + seconds


class CallsPerKey(BaseThrottle):
    """Bounds how often one key may call."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """True, or `TooManyCalls`."""
        if not isinstance(request.auth, ApiKey):
            return True
        prefix, limit = request.auth.prefix, conf().requests_per_minute
        if left := _calls_left.get(prefix, 0):
            _calls_left[prefix] = left - 1
            return True
        each = max(1, limit // SLICES)
        counted = request._request
        if seconds := seconds_to_wait(counted, "calls", lambda *_: prefix, limit // each):
            raise TooManyCalls(
                f"A key may call {limit} times a minute; try again in {seconds} seconds.",
                retry_after=seconds,
                limit=limit,
            )
        _calls_left[prefix] = each - 1
        return True


@contextmanager
def mismatches_counted(request: Request, key: ApiKey, jobs: Iterable[NewJob]) -> Iterator[None]:
    """Let a key that may not read submit these, but not find out a payload by trying many.

    That it was another one is told a few times a minute. Raises `TooManyCalls` after that, whether
    or not the next one is the same.
    """
    if allows(key, Scope.READ) or all(job.idempotency_key is None for job in jobs):
        yield
        return
    who = f"mismatches of {key.prefix}"
    _refuse_guesses(math.ceil(refused_until.get(who, 0) - time.monotonic()))
    try:
        yield
    except IdempotencyMismatch:
        seconds = seconds_to_wait(request._request, "mismatches", lambda *_: who, MISMATCHES)
        _remember(who, seconds)
        _refuse_guesses(seconds)
        raise


def _refuse_guesses(seconds: int) -> None:
    if seconds > 0:
        raise TooManyCalls(
            "Too many idempotency keys were used before with another request; "
            f"try again in {seconds} seconds.",
            retry_after=seconds,
            limit=MISMATCHES,
        )


def refusal_headers(error: TooManyRequests) -> dict[str, str]:
    """What a 429 says about the limit that was met."""
    return {
        "Retry-After": str(error.retry_after),
        "RateLimit-Policy": _policy(error.policy, error.limit, error.window),
        "RateLimit": f'"{error.policy}";r=0;t={error.retry_after}',
    }


def submission_headers(tenant: Tenant) -> dict[str, str]:
    """What a limited tenant may still submit; nothing for an unlimited one."""
    limit = tenant.submissions_per_minute
    if limit is None:
        return {}
    remaining, reset = limit, WINDOW_SECONDS + 1
    if window := store.submission_window(tenant.pk):
        oldest, _, now = window[0]
        remaining = max(0, limit - sum(submitted for _, submitted, _ in window))
        reset = oldest + WINDOW_SECONDS + 1 - now
    return {
        "RateLimit-Policy": _policy(TooManyRequests.policy, limit, WINDOW_SECONDS),
        "RateLimit": f'"{TooManyRequests.policy}";r={remaining};t={reset}',
    }


def _policy(name: str, quota: int, window: int | None) -> str:
    return f'"{name}";q={quota}' + (f";w={window}" if window else "")
