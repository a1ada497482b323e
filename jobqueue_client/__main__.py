"""`python -m jobqueue_client`: the queue from a shell, with the words of `manage.py jobs`."""

import json
import logging
import os
import re
import signal
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import httpx

from jobqueue_client.arguments import GIVE_UP_AFTER_SECONDS, KIND, LISTED_BY, command_line
from jobqueue_client.client import Client
from jobqueue_client.errors import (
    Conflict,
    JobNotDone,
    JobQueueError,
    JobUnreadable,
    LimitReached,
    NotAuthenticated,
    NotFound,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)
from jobqueue_client.models import Job, LogLine, Queue
from jobqueue_client.protocol import Json
from jobqueue_client.worker import Worker

REFUSED, USAGE, NOT_FOUND, WRONG_STATUS, LIMIT_REACHED, NO_ANSWER, NOT_DONE = range(1, 8)
INTERRUPTED = 130
ENDINGS = (signal.SIGTERM, signal.SIGINT)
REDRIVE_BATCH = 1_000
OPTIONAL_FIELDS = (
    *("queue", "priority", "run_at", "delay_seconds", "max_retries", "timeout_seconds"),
    *("idempotency_key", "tags", "worker_tags"),
)


class Answer:
    """Prints a value as JSON for programs, a text for people."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def __call__(self, value: Any, text: str) -> None:
        """One line or more, at once."""
        print(json.dumps(value, ensure_ascii=False) if self.as_json else text, flush=True)


def submit(client: Client, options: Namespace, answer: Answer) -> None:
    """Submit one job; with `--wait`, its result."""
    given: dict[str, Any] = {name: getattr(options, name) for name in OPTIONAL_FIELDS}
    job = client.submit(options.task, _payload(options.payload), **given)
    if options.wait is None:
        answer(job.raw, job.id)
        return
    print(f"Submitted {job.id}; waiting until it has ended.", file=sys.stderr)
    ended = client.wait(job, options.wait)
    if ended.status == "DONE" and ended.unreadable:
        raise JobUnreadable(ended)
    answer(ended.raw, json.dumps(ended.result, ensure_ascii=False))
    if ended.status != "DONE":
        raise JobNotDone(ended)


def list_jobs(client: Client, options: Namespace, answer: Answer) -> None:
    """The newest jobs that match."""
    jobs = list(client.list(options.limit, **_filters(options, *LISTED_BY)))
    answer([job.raw for job in jobs], "\n".join(map(_line, jobs)) or "No jobs.")


def show(client: Client, options: Namespace, answer: Answer) -> None:
    """Everything about the jobs, in JSON for people too."""
    for job_id in options.ids:
        print(json.dumps(client.get(job_id).raw, ensure_ascii=False))


def why(client: Client, options: Namespace, answer: Answer) -> None:
    """What each job waits for."""
    for job_id in options.ids:
        told = client.why(job_id)
        more = "".join(f"\n  - {gate.text}" for gate in told.gates[1:])
        answer(told.raw, f"{job_id} {told.status}: {told.text}{more}")


def logs(client: Client, options: Namespace, answer: Answer) -> None:
    """The lines in order; with `--follow`, also those to come, until the job has ended."""
    for line in client.logs(options.id, attempt=options.attempt, follow=options.follow):
        answer(line.raw, _log_line(line))


def cancel(client: Client, options: Namespace, answer: Answer) -> None:
    """Cancel each; the first that cannot be ends the command."""
    for job_id in options.ids:
        job = client.cancel(job_id)
        answer(job.raw, _line(job))


def retry(client: Client, options: Namespace, answer: Answer) -> None:
    """Retry each; the first that cannot be ends the command."""
    for job_id in options.ids:
        job = client.retry(job_id)
        answer(job.raw, _line(job))


def dlq(client: Client, options: Namespace, answer: Answer) -> None:
    """How many there are of each kind, the most frequent first. Reads all of them."""
    counts = Counter(_kind(job) for job in client.dlq(**_filters(options, *KIND, "filter")))
    kinds = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    groups = [{**dict(zip(KIND, kind, strict=True)), "count": count} for kind, count in kinds]
    lines = ["{count:>8}  {queue}  {task}  {error_type}".format(**group) for group in groups]
    answer(groups, "\n".join(lines) or "No dead letters.")


def redrive(client: Client, options: Namespace, answer: Answer) -> None:
    """The dead letters given, or those that match, each once."""
    filters = _filters(options, *KIND, "filter")
    if not (options.ids or filters or options.all):
        raise JobQueueError("Give ids, a filter, or --all.")
    # Their ids are read before any is sent back: what dies again is not redriven again.
    chosen: Sequence[str] = options.ids or [job.id for job in client.dlq(**filters)][::-1]
    moved: list[str] = []
    for start in range(0, len(chosen), REDRIVE_BATCH):
        moved += client.redrive(chosen[start : start + REDRIVE_BATCH]).ids
    answer({"count": len(moved), "ids": moved}, f"Sent {len(moved)} dead letters back.")


def pause(client: Client, options: Namespace, answer: Answer) -> None:
    """Pause a queue."""
    queue = client.pause(options.queue, options.reason)
    answer(queue.raw, _queue_line(queue))


def resume(client: Client, options: Namespace, answer: Answer) -> None:
    """Resume a queue."""
    queue = client.resume(options.queue)
    answer(queue.raw, _queue_line(queue))


def work(client: Client, options: Namespace, answer: Answer) -> None:
    """Run jobs by programs until SIGTERM or Ctrl-C; a second one stops them."""
    worker = Worker(
        client,
        options.tasks,
        queues=options.queues or (),
        tags=options.tags or (),
        slots=options.slots,
        lease_seconds=options.lease,
        name=options.name,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        for one in ENDINGS:
            signal.signal(one, signal.default_int_handler)
        print("Stopping when the running jobs have ended; once more to stop them.", file=sys.stderr)
        worker.stop()

    for one in ENDINGS:
        signal.signal(one, stop)
    logging.getLogger("jobqueue_client").setLevel(logging.INFO)
    worker.run(drain=options.drain)


VERBS: Mapping[str, Callable[[Client, Namespace, Answer], None]] = {
    "submit": submit,
    "list": list_jobs,
    "show": show,
    "why": why,
    "logs": logs,
    "cancel": cancel,
    "retry": retry,
    "dlq": dlq,
    "redrive": redrive,
    "pause": pause,
    "resume": resume,
    "work": work,
}


def main(
    arguments: Sequence[str] | None = None, *, transport: httpx.BaseTransport | None = None
) -> int:
    """Do what the arguments say; answers the exit code. `transport` is that of `Client`."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options = command_line().parse_args(arguments)
    if any(map(_is_broken, vars(options).values())):
        return _complain("An argument is not text in UTF-8.", USAGE)
    url, key = getattr(options, "url", None), getattr(options, "key", None)
    patience = getattr(options, "give_up_after", GIVE_UP_AFTER_SECONDS)
    try:
        client = Client(url, key, give_up_after_seconds=patience, transport=transport)
    except ValueError as error:
        return _complain(str(error), USAGE)
    with client:
        return _run(client, options)


def _is_broken(option: Any) -> bool:
    """Whether it has bytes that are no text: Python keeps those as halves of surrogate pairs."""
    texts = option if isinstance(option, list) else [option]
    return any(isinstance(text, str) and re.search(r"[\ud800-\udfff]", text) for text in texts)


def _run(client: Client, options: Namespace) -> int:
    try:
        VERBS[options.verb](client, options, Answer(as_json=hasattr(options, "json")))
    except JobQueueError as error:
        return _complain(_in_words(error), _exit_code(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _complain(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr)
    return code


def _in_words(error: JobQueueError) -> str:
    """What went wrong, and what to do."""
    match error:
        case Unreachable():
            return f"{error} Is it running, and is the address right (--url, JOBQUEUE_URL)?"
        case NotAuthenticated():
            return f"{error} Check the key (--key, JOBQUEUE_KEY)."
        case LimitReached(retry_after_seconds=float(seconds)):
            return f"{error} Try again in {seconds:.0f} seconds."
        case _:
            return str(error)


def _exit_code(error: JobQueueError) -> int:
    match error:
        case NotFound():
            return NOT_FOUND
        case Conflict(code="status_conflict"):
            return WRONG_STATUS
        case LimitReached():
            return LIMIT_REACHED
        case Unreachable() | Unavailable() | UnexpectedAnswer():
            return NO_ANSWER
        case JobNotDone() | WaitTimeout():
            return NOT_DONE
        case _:
            return REFUSED


def _filters(options: Namespace, *names: str) -> Any:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _payload(source: str | None) -> Json | None:
    """The payload as it was written. Raises `JobQueueError` if it is no JSON."""
    if source is None:
        return None
    try:
        text = sys.stdin.buffer.read().decode() if source == "-" else source
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobQueueError(f"The payload is not JSON: {error}.") from None
    return Json(text)


def _line(job: Job) -> str:
    place = f"{job.queue:<16} {job.task:<24}"
    created = job.raw["created_at"]
    return f"{job.id}  {job.status:<9}  {place}  attempt {job.attempt}  {created}"


def _queue_line(queue: Queue) -> str:
    reason = f": {queue.pause_reason}" if queue.pause_reason else ""
    return f"{queue.name} is {'paused' if queue.paused else 'active'}{reason}"


def _log_line(line: LogLine) -> str:
    at, level = line.raw["at"], line.level.upper()
    return f"{at}  #{line.attempt}  {level:<8}  {line.logger}: {line.message}"


def _kind(job: Job) -> tuple[str, ...]:
    return (job.queue, job.task, job.error.type if job.error else "")


if __name__ == "__main__":
    sys.exit(main())
