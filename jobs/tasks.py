"""The tasks that come with the product. Tenants may call them over REST."""

import asyncio
from typing import Any

from jobs.outgoing import request
from jobs.registry import RawJSON
from jobs.tasksapi import TaskContext, task


@task(expose="echo", takes_payload=True, takes_context=True)
def echo(context: TaskContext, payload: Any) -> Any:
    """Return the payload, byte for byte as it was sent."""
    sent = getattr(context, "payload", None)
    return payload if sent is None else RawJSON(sent)


@task(expose="sleep")
async def sleep(seconds: float) -> float:
    """Wait for so many seconds; answer how many."""
    await asyncio.sleep(seconds)
    return seconds


class Unlucky(Exception):
    """What the task `fail` raises."""


@task(expose="fail", takes_context=True)
def fail(context: TaskContext, times: int = 1) -> str:
    """Fail `times` times, then succeed."""
    if context.attempt <= times:
        raise Unlucky(f"failing attempt {context.attempt} of {times} to fail")
    return f"succeeded at attempt {context.attempt}"


@task(expose="sum_to")
def sum_to(n: int) -> int:
    """The sum of the first n natural numbers, 1 + 2 + … + n."""
    if n < 0:
        raise ValueError(f"n must not be negative, and is {n}")
    return n * (n + 1) // 2


@task(expose="http_request", timeout=60)
async def http_request(
    url: str,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    body: Any = None,
) -> dict[str, Any]:
    """Call a URL, a webhook for example; answer status, headers and the first 64 KB of the body.

    `body` is sent as JSON unless it is a string. Public addresses only. Answers other than 2xx are
    failures: 408, 429 and 5xx are tried again, honouring Retry-After, the others are not.
    """
    return await request(url, method=method, headers=headers or {}, body=body)
