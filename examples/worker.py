#!/usr/bin/env python3
"""A worker for tasks of your own, over REST: Python's standard library and nothing else.

    JOBQUEUE_URL=http://127.0.0.1:8000 JOBQUEUE_KEY=jq_… python examples/worker.py

It runs `remote:shout` and `remote:add`, a few at a time. Write your own functions in HANDLERS.
SIGTERM or Ctrl-C: it takes no more jobs, finishes those it has, and gives back what takes too long.
The protocol is explained in docs/worker-protocol.md.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

URL = os.environ.get("JOBQUEUE_URL", "http://127.0.0.1:8000") + "/api/v1/leases"
KEY = os.environ["JOBQUEUE_KEY"]
NAME = os.environ.get("WORKER_NAME", "example-py")
QUEUES = [queue for queue in os.environ.get("QUEUES", "").split(",") if queue]
SLOTS = int(os.environ.get("SLOTS", "4"))
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "30"))
GRACE_SECONDS = 20


class Unwanted(Exception):
    """Raise it in a handler where trying again would not help."""


class Job:
    """A job that this worker holds. A handler that takes long looks at `is_cancelled`."""

    def __init__(self, leased):
        self.payload = leased["payload"]
        self.task = leased["task"]
        self.lease = {"job_id": leased["id"], "fence": leased["fence"]}
        self.is_cancelled = threading.Event()
        self.is_lost = False


def shout(job):
    """The text, louder, after as many seconds as the payload says."""
    until = time.monotonic() + job.payload.get("seconds", 0)
    while time.monotonic() < until and not job.is_cancelled.wait(0.1):
        pass
    return job.payload["text"].upper()


def add(job):
    """The sum of a list of numbers."""
    if not isinstance(job.payload, list):
        raise Unwanted("the payload must be a list of numbers")
    return sum(job.payload)


HANDLERS = {"remote:shout": shout, "remote:add": add}


class Refused(Exception):
    """The server will not take this request, however often it is sent."""


class Worker:
    """Leases jobs, runs each in a thread, and keeps the leases from another one."""

    def __init__(self):
        self.held = {}
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self.finished = threading.Event()

    def run(self):
        """Until a signal asks for the end, or the server gives no more jobs."""
        threading.Thread(target=self.keep_leases, daemon=True).start()
        try:
            while not self.stopping.is_set():
                for leased in self.lease(self.free_slots()):
                    self.start(Job(leased))
        finally:
            self.drain()
            self.finished.set()

    def start(self, job):
        """Run it in a thread of its own."""
        with self.changed:
            self.held[job.lease["job_id"]] = job
        threading.Thread(target=self.work, args=[job], daemon=True).start()

    def free_slots(self):
        """How many more jobs can run now; waits a moment if there is no room."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.held) < SLOTS, 1)
            return SLOTS - len(self.held)

    def lease(self, slots):
        """Ask for jobs; the server answers when there are some, or after a while."""
        if not slots:
            return []
        wish = {
            "worker": NAME,
            "queues": QUEUES,
            "tasks": list(HANDLERS),
            "max_jobs": slots,
            "lease_seconds": LEASE_SECONDS,
            "wait_seconds": 10,
        }
        answer = call("", wish, self.stopping)
        if answer is None:
            return []
        if not answer["jobs"]:
            self.stopping.wait(answer["poll_after_seconds"])
        return answer["jobs"]

    def work(self, job):
        """Run one job and report what became of it."""
        try:
            try:
                result = HANDLERS[job.task](job)
            except Exception as error:
                self.fail(job, error, traceback.format_exc())
            else:
                self.succeed(job, result)
        finally:
            with self.changed:
                self.held.pop(job.lease["job_id"], None)
                self.changed.notify_all()

    def succeed(self, job, result):
        """Report a result; one that cannot be kept is a failure that would only come again."""
        if job.is_cancelled.is_set():
            self.report(job, "/release", {})
            return
        try:
            told = self.report(job, "/ack", {"result": result})
            if told and told["code"] == "too_large":
                raise Refused(told["detail"])  # noqa: TRY301  (one place for both)
        except (Refused, TypeError, ValueError) as error:
            self.fail(job, Unwanted(str(error)), "")

    def fail(self, job, error, text):
        """Report a failure: the queue tries again, unless that would not help."""
        described = {
            "type": type(error).__name__,
            "message": storable(str(error)[:2_000]),
            "traceback": storable(text[-16_000:]),
        }
        outcome = {"error": described, "retryable": not isinstance(error, Unwanted)}
        self.report(job, "/fail", outcome)

    def report(self, job, path, outcome):
        """Say it under the fence of the lease. If that is lost, somebody else has the job."""
        if job.is_lost:
            return None
        answer = call(path, {"leases": [{**job.lease, **outcome}]}, self.finished)
        return answer["results"][0] if answer else None

    def keep_leases(self):
        """Three times in a lease: say that we are alive, hear what was cancelled or lost."""
        while not self.finished.wait(LEASE_SECONDS / 3):
            with self.changed:
                jobs = list(self.held.values())
            if not jobs:
                continue
            body = {"leases": [job.lease for job in jobs], "lease_seconds": LEASE_SECONDS}
            answer = call("/heartbeat", body, self.finished, LEASE_SECONDS / 3)
            for job, told in zip(jobs, answer["results"] if answer else [], strict=False):
                job.is_lost = not told["ok"]
                if job.is_lost or told["cancel_requested"]:
                    job.is_cancelled.set()

    def drain(self):
        """Let running jobs end; give back those that do not, with their attempts unspent."""
        with self.changed:
            self.changed.wait_for(lambda: not self.held, GRACE_SECONDS)
            left = [job.lease for job in self.held.values()]
        if left:
            call("/release", {"leases": left}, self.finished)


def storable(text):
    """The text without what no database keeps."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def call(path, body, stop, each=60):
    """POST until the server answers: repeating a report changes nothing. None if stopped.

    A try may take `each` seconds, and so may the pause after it.
    """
    data, seconds = json.dumps(body, allow_nan=False).encode(), min(0.5, each)
    while True:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        request = urllib.request.Request(URL + path, data, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=each) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 429 and error.code < 500:
                raise Refused(error.read().decode()) from None
            seconds = max(seconds, float(error.headers.get("Retry-After", 0)))
        except (OSError, http.client.HTTPException, ValueError):
            pass  # not there, or gone in the middle of its answer
        if stop.wait(seconds):
            return None
        seconds = min(2 * seconds, 30, each)


def main():
    """Work until SIGTERM or SIGINT."""
    worker = Worker()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stopping.set())
    try:
        worker.run()
    except Refused as error:
        sys.exit(f"The server refuses what this worker asks for: {error}")


if __name__ == "__main__":
    main()
