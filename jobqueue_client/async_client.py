"""The client for asyncio: `Client`, word for word, with `await` before each call."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
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


class AsyncClient:
    """What `Client` is, for one event loop. Close it, or use it in an `async with`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_seconds: float = 10,
        give_up_after_seconds: float = 60,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.patience = Patience(timeout_seconds, give_up_after_seconds)
        self._http = httpx.AsyncClient(**http_options(url, key), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
        self, task: str = "echo", payload: Any = None, **options: Unpack[JobOptions]
    ) -> Job:
        """Submit a job, once: a lost answer never doubles it."""
        return await self.call(operations.submit(task, payload, options))

    async def submit_many(self, jobs: Iterable[NewJob]) -> Sequence[str]:
        """Submit up to 1,000 jobs, all or none, once. Answers their ids in order."""
        return await self.call(operations.submit_many(jobs))

    async def get(self, job: JobOrId) -> Job:
        """The job as it is now, with its failed attempts."""
        return await self.call(operations.get(job))

    async def wait(self, job: JobOrId, timeout_seconds: float | None = None) -> Job:
        """Wait until the job has ended, however it ends. Raises `WaitTimeout`."""
        return await self.run(operations.wait(job, timeout_seconds, self.patience))

    async def result(self, job: JobOrId, timeout_seconds: float | None = None) -> Any:
        """Wait, and answer the job's result.

        Raises `WaitTimeout`, `JobNotDone`, or `JobUnreadable` where the queue cannot open it.
        """
        return await self.run(operations.result(job, timeout_seconds, self.patience))

    def list(self, limit: int | None = None, **filters: Unpack[JobFilters]) -> AsyncIterator[Job]:
        """The jobs that match, newest first, page after page, at most `limit`."""
        return self._listed(Listing("/jobs", filters, limit))

    def dlq(
        self, limit: int | None = None, **filters: Unpack[DeadLetterFilters]
    ) -> AsyncIterator[Job]:
        """The dead letters that match, newest first, page after page, at most `limit`."""
        return self._listed(Listing("/dlq", filters, limit))

    async def cancel(self, job: JobOrId) -> Job:
        """Cancel a job; a running one stops at its worker's next heartbeat. Raises `Conflict`."""
        return await self.call(operations.cancel(job))

    async def retry(self, job: JobOrId) -> Job:
        """Run a failed or dead job now. Raises `Conflict`. Not sent again if its answer is lost."""
        return await self.call(operations.retry(job))

    async def redrive(
        self, ids: Iterable[JobOrId] | None = None, **filters: Unpack[RedriveFilters]
    ) -> Redriven:
        """Send these dead letters back, or up to 1,000 that match, the oldest first.

        Not sent again if its answer is lost.
        """
        return await self.call(operations.redrive(ids, filters))

    async def discard(self, job: JobOrId) -> None:
        """Delete a dead letter for good. Raises `NotFound` or `Conflict`."""
        await self.call(operations.discard(job))

    async def why(self, job: JobOrId) -> Explanation:
        """Why the job does not run now."""
        return await self.call(operations.why(job))

    async def logs(
        self,
        job: JobOrId,
        *,
        attempt: int | None = None,
        after: str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        """What the job has logged, in order; with `follow` until it has ended.

        `after` is the `id` of a line that you have already.
        """
        log = Log(job, attempt=attempt, after=after, follow=follow)
        while lines := await self.run(log.steps(self.patience)):
            for line in lines:
                yield line

    async def queues(self) -> Sequence[Queue]:
        """The queues with depth, oldest age and limits, by name."""
        return await self.call(operations.queues())

    async def pause(self, queue: str, reason: str | None = None) -> Queue:
        """Start no more jobs of a queue; who sees it reads the reason. Raises `NotFound`."""
        return await self.call(operations.pause(queue, reason))

    async def resume(self, queue: str) -> Queue:
        """Start jobs of a queue again. Raises `NotFound`."""
        return await self.call(operations.resume(queue))

    async def metrics(self) -> Figures:
        """The tenant's figures."""
        return await self.call(operations.metrics())

    async def call(self, call: Call[T]) -> T:
        """Make one call of `jobqueue_client.operations`."""
        return await self.run(answered(call, self.patience))

    async def run(self, steps: Steps[T]) -> T:
        """Do what the steps say until they have an answer."""
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                answer: T = end.value
                return answer
            outcome = await self._do(step)

    async def _do(self, step: Send | Pause) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.send(request_of(self._http, step))
        except httpx.RequestError as error:
            return error

    async def _listed(self, listing: Listing) -> AsyncIterator[Job]:
        while call := listing.next_call():
            for job in listing.take(await self.call(call)):
                yield job
