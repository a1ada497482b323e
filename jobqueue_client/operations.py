"""The calls of the API: what each sends, and what it makes of the answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

from jobqueue_client.errors import JobNotDone, JobUnreadable, WaitTimeout
from jobqueue_client.models import (
    DeadLetterFilters,
    Explanation,
    Figures,
    Job,
    JobFilters,
    JobOptions,
    LogLine,
    NewJob,
    Queue,
    RedriveFilters,
    Redriven,
)
from jobqueue_client.protocol import Call, Patience, Pause, Steps, answered, dumps

LONGEST_HOLD_SECONDS = 25
"""For so long the queue is asked to hold an answer until a job has ended."""
SHORT_HOLD_SECONDS = 1
"""An answer that came sooner was not held, whatever it says: a queue that ends lets all go."""
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.25, 5.0
PAGE_SIZE = 100
FOLLOW_SECONDS = 1.0

JobOrId = Job | str
Page = tuple[Sequence[Job], httpx.QueryParams | None]
T = TypeVar("T")


def submit(task: str, payload: Any, options: JobOptions) -> Call[Job]:
    """Submit one job. It may be repeated: it has an idempotency key, its own or one made here."""
    new = _submission({"task": task, "payload": payload, **options})
    return Call("POST", "/jobs", _json(Job.from_json), body=dumps(new))


def submit_many(jobs: Iterable[NewJob]) -> Call[Sequence[str]]:
    """Submit up to 1,000 jobs, all or none; every one has an idempotency key, as above."""
    body = dumps({"jobs": [_submission({**job}) for job in jobs]})
    return Call("POST", "/jobs/bulk", _json(lambda answer: list(answer["ids"])), body=body)


def _submission(job: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: _written(value) for name, value in job.items() if value is not None}
    return {"idempotency_key": f"client-{uuid4()}", **given}


def get(job: JobOrId) -> Call[Job]:
    """One job with its failed attempts."""
    return Call("GET", _path(job), _json(Job.from_json))


def cancel(job: JobOrId) -> Call[Job]:
    """Cancel a job. Cancelling a cancelled job changes nothing, so it may be repeated."""
    return Call("POST", f"{_path(job)}/cancel", _json(Job.from_json))


def retry(job: JobOrId) -> Call[Job]:
    """Run a failed or dead job now. Not to be repeated: it could have failed again since."""
    return Call("POST", f"{_path(job)}/retry", _json(Job.from_json), is_repeatable=False)


def why(job: JobOrId) -> Call[Explanation]:
    """Why a job does not run now."""
    return Call("GET", f"{_path(job)}/why", _json(Explanation.from_json))


class Log:
    """What a job has logged, read page by page, from behind the line `after` on.

    `follow`: also what it will log, until it has ended.
    """

    def __init__(
        self, job: JobOrId, *, attempt: int | None, after: str | None, follow: bool
    ) -> None:
        self._job, self._follow = job, follow
        query = {"attempt": attempt, "after": after, "limit": PAGE_SIZE}
        self._query = {name: value for name, value in query.items() if value is not None}

    def steps(self, patience: Patience) -> Steps[Sequence[LogLine] | None]:
        """The next lines, at once or as soon as there are some; None when there will be none."""
        while True:
            ended = not self._follow or (yield from answered(get(self._job), patience)).is_final
            lines = yield from answered(self._page(), patience)
            if lines:
                self._query["after"] = lines[-1].id
                return lines
            if ended:
                return None
            yield Pause(FOLLOW_SECONDS)

    def _page(self) -> Call[Sequence[LogLine]]:
        query = httpx.QueryParams(self._query)
        return Call("GET", f"{_path(self._job)}/logs", _json(_lines), query=query)


def _lines(answer: Mapping[str, Any]) -> Sequence[LogLine]:
    return [LogLine.from_json(line) for line in answer["results"]]


class Listing:
    """A list that is read page by page; `limit` is how many jobs are wanted at all."""

    def __init__(
        self, path: str, filters: JobFilters | DeadLetterFilters, limit: int | None
    ) -> None:
        size = PAGE_SIZE if limit is None else min(limit, PAGE_SIZE)
        query = {name: _written(value) for name, value in filters.items()}
        self._path, self._left = path, limit
        self._query: httpx.QueryParams | None = httpx.QueryParams({**query, "limit": size})

    def next_call(self) -> Call[Page] | None:
        """The call for the next page; None when there is none or enough was taken."""
        if self._query is None or self._left == 0:
            return None
        return Call("GET", self._path, _json(_page), query=self._query)

    def take(self, page: Page) -> Sequence[Job]:
        """The jobs of the page that are still wanted."""
        jobs, self._query = page
        if self._left is not None:
            jobs = jobs[: self._left]
            self._left -= len(jobs)
        return jobs


def _page(answer: Mapping[str, Any]) -> Page:
    """Of the next page's address only the query counts: the key goes to no other host."""
    leads_to = answer["next"]
    following = httpx.QueryParams(urlsplit(leads_to).query) if leads_to else None
    return [Job.from_json(job) for job in answer["results"]], following


def redrive(ids: Iterable[JobOrId] | None, filters: RedriveFilters) -> Call[Redriven]:
    """Send dead letters back. Not to be repeated: they could have died again since."""
    chosen = dict(filters) if ids is None else {"ids": [_id(one) for one in ids], **filters}
    return Call(
        "POST",
        "/dlq/redrive",
        _json(Redriven.from_json),
        body=dumps(chosen),
        is_repeatable=False,
    )


def discard(job: JobOrId) -> Call[None]:
    """Delete a dead letter. Not to be repeated: it would not be found."""
    path = f"/dlq/{quote(_id(job), safe='')}"
    return Call("DELETE", path, lambda response: None, is_repeatable=False)


def queues() -> Call[Sequence[Queue]]:
    """The tenant's queues."""
    return Call(
        "GET", "/queues", _json(lambda answer: [Queue.from_json(q) for q in answer["results"]])
    )


def pause(queue: str, reason: str | None = None) -> Call[Queue]:
    """Stop a queue. Doing so twice changes nothing."""
    body = None if reason is None else dumps({"reason": reason})
    return Call("POST", _queue_path(queue, "pause"), _json(Queue.from_json), body=body)


def resume(queue: str) -> Call[Queue]:
    """Start a queue. Doing so twice changes nothing."""
    return Call("POST", _queue_path(queue, "resume"), _json(Queue.from_json))


def metrics() -> Call[Figures]:
    """The tenant's figures."""
    return Call("GET", "/metrics", _json(Figures.from_json))


def wait(job: JobOrId, timeout_seconds: float | None, patience: Patience) -> Steps[Job]:
    """Wait until the job has ended. Raises `WaitTimeout`.

    The queue holds the answer back where it can (`Prefer: wait`). Where it cannot, it is asked
    again after a pause that grows.
    """
    clock, pause = patience.clock, FIRST_LOOK_SECONDS
    deadline = float("inf") if timeout_seconds is None else clock() + timeout_seconds
    while True:
        asked_at = clock()
        left = max(0, deadline - asked_at)
        within = replace(patience, give_up_after_seconds=min(patience.give_up_after_seconds, left))
        call = _held(job, int(min(LONGEST_HOLD_SECONDS, left)))
        found, was_held = yield from answered(call, within)
        left = deadline - clock()
        if found.is_final:
            return found
        if left <= 0:
            raise WaitTimeout(found)
        if not was_held or clock() - asked_at < SHORT_HOLD_SECONDS:
            yield Pause(min(left, pause * (0.5 + patience.chance() / 2)))
            pause = min(pause * 1.5, LONGEST_LOOK_SECONDS)


def result(job: JobOrId, timeout_seconds: float | None, patience: Patience) -> Steps[Any]:
    """Wait, and answer the result. Raises `WaitTimeout`, `JobNotDone` or `JobUnreadable`."""
    ended = yield from wait(job, timeout_seconds, patience)
    if ended.status != "DONE":
        raise JobNotDone(ended)
    if ended.unreadable:
        raise JobUnreadable(ended)
    return ended.result


def _held(job: JobOrId, seconds: int) -> Call[tuple[Job, bool]]:
    """The job, and whether the queue held the answer back for it."""

    def read(response: httpx.Response) -> tuple[Job, bool]:
        applied = "wait" in response.headers.get("Preference-Applied", "")
        return Job.from_json(response.json()), applied

    headers = {"Prefer": f"wait={seconds}"} if seconds else {}
    return Call("GET", _path(job), read, headers=headers, held_seconds=seconds)


def _json(read: Callable[[Any], T]) -> Callable[[httpx.Response], T]:
    return lambda response: read(response.json())


def _written(value: Any) -> Any:
    """As the API writes it: times in RFC 3339."""
    return value.isoformat() if isinstance(value, datetime) else value


def _id(job: JobOrId) -> str:
    return job.id if isinstance(job, Job) else str(job)


def _queue_path(queue: str, action: str) -> str:
    return f"/queues/{quote(queue, safe='')}/{action}"


def _path(job: JobOrId) -> str:
    return f"/jobs/{quote(_id(job), safe='')}"
