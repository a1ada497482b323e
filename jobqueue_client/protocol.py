"""How one call becomes requests, without sending any: `Client` and `AsyncClient` share all of it.

A call is a generator of steps. It yields what to do next, `Send` or `Pause`, and is told what came
of it: the response, or the error of the transport. The client that drives it does nothing else.

What is sent again, after how long: connections that were never made, and 429, which refuses before
anything is done, for every call; lost answers and 502, 503 and 504 only for calls that may be
repeated without doing anything twice.
"""

import json
import logging
import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, TypeVar

import httpx

from jobqueue_client.errors import ApiError, JobQueueError, UnexpectedAnswer, Unreachable, api_error

NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
PASSING = frozenset({502, 503, 504})
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0

logger = logging.getLogger("jobqueue_client")
T = TypeVar("T")


@dataclass(frozen=True)
class Json:
    """JSON that is text already, to be sent exactly as it is written. It must be valid."""

    text: str


def dumps(value: Any) -> bytes:
    """JSON as UTF-8, each `Json` within as it was written.

    Raises `TypeError` or `ValueError` for what is no JSON.
    """
    kept: list[str] = []
    mark = secrets.token_hex(16)

    def keep(other: Any) -> str:
        if not isinstance(other, Json):
            raise TypeError(f"{type(other).__name__} is not JSON")
        kept.append(other.text)
        return mark

    text = json.dumps(value, default=keep, ensure_ascii=False, allow_nan=False)
    parts = text.split(f'"{mark}"')
    return "".join(
        piece for pair in zip(parts, [*kept, ""], strict=True) for piece in pair
    ).encode()


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request of the API, and how its answer is read.

    `is_repeatable`: sending it twice does what sending it once does. `held_seconds` is for how long
    the queue may hold the answer back on purpose.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    query: Mapping[str, Any] | httpx.QueryParams = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True
    held_seconds: float = 0


@dataclass(frozen=True)
class Send:
    """Send this, and tell the `httpx.Response` or the `httpx.RequestError`."""

    call: Call[Any]
    timeout_seconds: float


@dataclass(frozen=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


Outcome = httpx.Response | httpx.RequestError | None
Steps = Generator[Send | Pause, Outcome, T]


@dataclass(frozen=True)
class Patience:
    """How long a call may take, and the sources of time and chance.

    A try is given up after `timeout_seconds` without a sign of life. No try begins later than
    `give_up_after_seconds` after the first.
    """

    timeout_seconds: float = 10
    give_up_after_seconds: float = 60
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


def answered(call: Call[T], patience: Patience) -> Steps[T]:
    """Send the call until it is answered, and read the answer. Raises `JobQueueError`."""
    deadline = patience.clock() + patience.give_up_after_seconds
    for tries in count():
        outcome = yield Send(call, patience.timeout_seconds + call.held_seconds)
        if isinstance(outcome, httpx.Response) and _is_good(outcome):
            return _read(call, outcome)
        failure = _failure(outcome)
        pause = _pause(failure, tries, patience.chance)
        if not _may_repeat(call, outcome, failure) or patience.clock() + pause >= deadline:
            raise failure
        logger.warning("%s %s: %s Trying again in %.1f s", call.method, call.path, failure, pause)
        yield Pause(pause)
    raise AssertionError("counting does not end")


def backoff(tries: int, chance: Callable[[], float]) -> float:
    """Seconds to wait after so many tries: full jitter under a ceiling that doubles."""
    ceiling = min(FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 16), LONGEST_PAUSE_SECONDS)
    return chance() * ceiling


def _is_good(response: httpx.Response) -> bool:
    return response.status_code < 300 or response.status_code == 304


def _pause(failure: JobQueueError, tries: int, chance: Callable[[], float]) -> float:
    """The backoff, on top of what the queue asked for."""
    asked = failure.retry_after_seconds if isinstance(failure, ApiError) else None
    return (asked or 0) + backoff(tries, chance)


def _may_repeat(call: Call[Any], outcome: Outcome, failure: JobQueueError) -> bool:
    if isinstance(outcome, httpx.Response):
        refused = outcome.status_code == 429 or getattr(failure, "code", "") == "try_again"
        return refused or (call.is_repeatable and outcome.status_code in PASSING)
    return isinstance(outcome, NEVER_SENT) or (
        call.is_repeatable and not isinstance(outcome, HOPELESS)
    )


def _failure(outcome: Outcome) -> JobQueueError:
    if not isinstance(outcome, httpx.Response):
        unreachable = Unreachable(f"No answer from the queue ({_in_words(outcome)}).")
        unreachable.__cause__ = outcome
        return unreachable
    if outcome.status_code >= 400:
        return api_error(outcome.status_code, _problem(outcome), _retry_after(outcome))
    return UnexpectedAnswer(
        f"The answer is a redirection ({outcome.status_code}): give the queue's own address."
    )


def _in_words(error: httpx.RequestError | None) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    """The problem that was told; nothing if it was not told by the queue."""
    try:
        told = response.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _retry_after(response: httpx.Response) -> float | None:
    """Whole seconds, as the queue tells them; a proxy's date is not worth a clock."""
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() else None


def _read(call: Call[T], response: httpx.Response) -> T:
    try:
        return call.read(response)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedAnswer(
            f"The answer to {call.method} {call.path} is not one of a job queue "
            f"({type(error).__name__}). Check the address."
        ) from error
