"""The calls of a worker: get jobs, keep them, say what became of them.

`Worker` makes them. A loop of your own makes them by `client.call(…)`, or `await client.call(…)`.
All of them name the lease by job and fence, and repeating a report changes nothing; only asking
for jobs is not repeated, because jobs of a lost answer stay leased until their time is over.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import httpx

from jobqueue_client.models import LeasedJob, Report
from jobqueue_client.protocol import Call, Json, dumps

MOST_AT_ONCE, MOST_REPORTED = 100, 1_000
"""Jobs that can be asked for, and reported, in one call."""
MOST_TEXT = 16_000
"""Characters of an error's text that are sent: its end, where the reason is."""

MOST_LINE = 4_000
"""Characters of a line that are sent."""

Granted = tuple[Sequence[LeasedJob], float]
"""The jobs, and after how many seconds to ask again."""


class Wish(TypedDict, total=False):
    """What a worker asks for; without queues or tasks, all those that its key may have.

    `tags` are what it has of jobs' `worker_tags`. `worker` is a name to find it by, up to 50
    characters, which it keeps. The queue holds an answer without jobs back for `wait_seconds`.
    """

    queues: Sequence[str]
    tasks: Sequence[str]
    tags: Sequence[str]
    max_jobs: int
    lease_seconds: float
    wait_seconds: float
    worker: str


def lease(wish: Wish) -> Call[Granted]:
    """Ask for jobs to run."""
    return Call(
        "POST",
        "/leases",
        _granted,
        body=dumps(wish),
        is_repeatable=False,
        held_seconds=wish.get("wait_seconds", 0),
    )


def heartbeat(jobs: Iterable[LeasedJob], lease_seconds: float) -> Call[Sequence[Report]]:
    """Keep the leases for so long from now on."""
    return _report("heartbeat", [_held(job) for job in jobs], lease_seconds=lease_seconds)


def acknowledge(job: LeasedJob, result: Any) -> Call[Sequence[Report]]:
    """The job succeeded. Raises `TypeError` or `ValueError` if the result is no JSON."""
    return _report("ack", [{**_held(job), "result": result}])


def fail(
    job: LeasedJob,
    error_type: str,
    message: str = "",
    *,
    traceback: str = "",
    is_retryable: bool = True,
    retry_in_seconds: float | None = None,
) -> Call[Sequence[Report]]:
    """The attempt failed; `retry_in_seconds` of None is the queue's backoff."""
    texts = {"type": error_type, "message": message, "traceback": traceback}
    error = {name: _storable(text) for name, text in texts.items()}
    report = {**_held(job), "error": error, "retryable": is_retryable}
    return _report("fail", [{**report, "retry_in_seconds": retry_in_seconds}])


class Line(TypedDict):
    """A line that a job logs; `level` is debug, info, warning, error or critical, `at` RFC 3339."""

    message: str
    level: str
    logger: str
    at: str


Told = tuple[LeasedJob, int, Sequence[Line]]
"""A job, some of the lines that it has logged, and before them the number of the first, from 1."""


def log(told: Iterable[Told]) -> Call[Sequence[Report]]:
    """Keep what jobs have logged: up to 1,000 lines of each."""
    reports = [
        {**_held(job), "first": first, "lines": [_storable_line(line) for line in lines]}
        for job, first, lines in told
    ]
    return _report("logs", reports)


def _storable_line(line: Line) -> Line:
    return {**line, "message": _storable(line["message"])[:MOST_LINE]}


def release(jobs: Iterable[LeasedJob]) -> Call[Sequence[Report]]:
    """Give the jobs back, their attempts unspent; one that was cancelled ends so."""
    return _report("release", [_held(job) for job in jobs])


def _held(job: LeasedJob) -> dict[str, Any]:
    return {"job_id": job.id, "fence": job.fence}


def _report(kind: str, leases: Sequence[Any], **more: float) -> Call[Sequence[Report]]:
    return Call("POST", f"/leases/{kind}", _reports, body=dumps({"leases": leases, **more}))


def _reports(response: httpx.Response) -> Sequence[Report]:
    return [Report.from_json(told) for told in response.json()["results"]]


def _granted(response: httpx.Response) -> Granted:
    """Read twice: once as Python, and once with every number as it is written."""
    told, spelled = response.json(), json.loads(response.text, parse_float=Json)
    jobs = [
        LeasedJob.from_json({**job, "payload_text": dumps(exact["payload"]).decode()})
        for job, exact in zip(told["jobs"], spelled["jobs"], strict=True)
    ]
    return jobs, float(told["poll_after_seconds"])


def _storable(text: str) -> str:
    """Without what no database keeps, and not too long."""
    sound = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return sound[-MOST_TEXT:]
