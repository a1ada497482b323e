"""The client for programs that block. Its twin for asyncio is `AsyncClient`."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar, Unpack

import httpx

from jobqueue_client import operations
from jobqueue_client.connection import http_options, request_of
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
from jobqueue_client.operations import JobOrId, Listing, Log
from jobqueue_client.protocol import Call, Outcome, Patience, Pause, Send, Steps, answered

T = TypeVar("T")


class Client:
    """Calls the queue at `url` with one key; threads may share it. Close it, or use it in a `with`.

    Without `url` and `key` those of `JOBQUEUE_URL` and `JOBQUEUE_KEY`; raises `ValueError` where
    there are none. A try is given up after `timeout_seconds`, a call after
    `give_up_after_seconds`. Every call raises `JobQueueError`: `ApiError` if the queue refused,
    `Unreachable` if nobody answered. `transport` is httpx's.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_seconds: float = 10,
        give_up_after_seconds: float = 60,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.patience = Patience(timeout_seconds, give_up_after_seconds)
        self._http = httpx.Client(**http_options(url, key), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, task: str = "echo", payload: Any = None, **options: Unpack[JobOptions]) -> Job:
        """Submit a job, once: a lost answer never doubles it."""
        return self.call(operations.submit(task, payload, options))

    def submit_many(self, jobs: Iterable[NewJob]) -> Sequence[str]:
        """Submit up to 1,000 jobs, all or none, once. Answers their ids in order."""
        return self.call(operations.submit_many(jobs))

    def get(self, job: JobOrId) -> Job:
        """The job as it is now, with its failed attempts."""
        return self.call(operations.get(job))

    def wait(self, job: JobOrId, timeout_seconds: float | None = None) -> Job:
        """Wait until the job has ended, however it ends. Raises `WaitTimeout`."""
        return self.run(operations.wait(job, timeout_seconds, self.patience))

    def result(self, job: JobOrId, timeout_seconds: float | None = None) -> Any:
        """Wait, and answer the job's result.

        Raises `WaitTimeout`, `JobNotDone`, or `JobUnreadable` where the queue cannot open it.
        """
        return self.run(operations.result(job, timeout_seconds, self.patience))

    def list(self, limit: int | None = None, **filters: Unpack[JobFilters]) -> Iterator[Job]:
        """The jobs that match, newest first, page after page, at most `limit`."""
        return self._listed(Listing("/jobs", filters, limit))

    def dlq(self, limit: int | None = None, **filters: Unpack[DeadLetterFilters]) -> Iterator[Job]:
        """The dead letters that match, newest first, page after page, at most `limit`."""
        return self._listed(Listing("/dlq", filters, limit))

    def cancel(self, job: JobOrId) -> Job:
        """Cancel a job; a running one stops at its worker's next heartbeat. Raises `Conflict`."""
        return self.call(operations.cancel(job))

    def retry(self, job: JobOrId) -> Job:
        """Run a failed or dead job now. Raises `Conflict`. Not sent again if its answer is lost."""
        return self.call(operations.retry(job))

    def redrive(
        self, ids: Iterable[JobOrId] | None = None, **filters: Unpack[RedriveFilters]
    ) -> Redriven:
        """Send these dead letters back, or up to 1,000 that match, the oldest first.

        Not sent again if its answer is lost.
        """
        return self.call(operations.redrive(ids, filters))

    def discard(self, job: JobOrId) -> None:
        """Delete a dead letter for good. Raises `NotFound` or `Conflict`."""
        self.call(operations.discard(job))

    def why(self, job: JobOrId) -> Explanation:
        """Why the job does not run now."""
        return self.call(operations.why(job))

    def logs(
        self,
        job: JobOrId,
        *,
        attempt: int | None = None,
        after: str | None = None,
        follow: bool = False,
    ) -> Iterator[LogLine]:
        """What the job has logged, in order; with `follow` until it has ended.

        `after` is the `id` of a line that you have already.
        """
        log = Log(job, attempt=attempt, after=after, follow=follow)
        while lines := self.run(log.steps(self.patience)):
            yield from lines

    def queues(self) -> Sequence[Queue]:
        """The queues with depth, oldest age and limits, by name."""
        return self.call(operations.queues())

    def pause(self, queue: str, reason: str | None = None) -> Queue:
        """Start no more jobs of a queue; who sees it reads the reason. Raises `NotFound`."""
        return self.call(operations.pause(queue, reason))

    def resume(self, queue: str) -> Queue:
        """Start jobs of a queue again. Raises `NotFound`."""
        return self.call(operations.resume(queue))

    def metrics(self) -> Figures:
        """The tenant's figures."""
        return self.call(operations.metrics())

    def call(self, call: Call[T]) -> T:
        """Make one call of `jobqueue_client.operations`."""
        return self.run(answered(call, self.patience))

    def run(self, steps: Steps[T]) -> T:
        """Do what the steps say until they have an answer."""
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                answer: T = end.value
                return answer
            outcome = self._do(step)

    def _do(self, step: Send | Pause) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.send(request_of(self._http, step))
        except httpx.RequestError as error:
            return error

    def _listed(self, listing: Listing) -> Iterator[Job]:
        while call := listing.next_call():
            yield from listing.take(self.call(call))
