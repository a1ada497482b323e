"""The example workers do what docs/worker-protocol.md says: they run, fail, stop and die well."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs import services, store
from jobs.keys import create_api_key
from jobs.models import Job, Tenant, Worker
from jobs.statuses import Status
from jobs.submission import NewJob
from tests.harness import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE_SECONDS, LEASE_SECONDS = 60, 5
SHOUTS = {
    "worker.py": 'return job.payload["text"].upper()',
    "worker.mjs": "return text.toUpperCase();",
}
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(params=["worker.py", "worker.mjs"])
def command(request: pytest.FixtureRequest) -> list[str]:
    """How an example is run; skipped, loudly, where there is no Node."""
    name: str = request.param
    if name.endswith(".py"):
        return [sys.executable, str(ROOT / "examples" / name)]
    node = shutil.which("node")
    if node is None:
        reason = "NO NODE: the example in JavaScript was not run. Install Node 18 or later."
        print(f"\n{reason}", file=sys.__stderr__)
        pytest.skip(reason)
    return [node, str(ROOT / "examples" / name)]


@pytest.fixture
def start(command: list[str], server: str, alice: Tenant) -> Iterator[Start]:
    """Starts the example as a worker of Alice's; whatever still runs is killed at the end."""
    key = create_api_key(alice, scopes=("work",), actor="command:test")[1]
    started: list[subprocess.Popen[str]] = []

    def run(**settings: object) -> subprocess.Popen[str]:
        env = os.environ | {"JOBQUEUE_URL": server, "JOBQUEUE_KEY": key}
        texts = {name: str(value) for name, value in settings.items()}
        worker = subprocess.Popen(
            command, env=env | texts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(worker)
        return worker

    yield run
    for worker in started:
        worker.kill()
        worker.communicate()


@pytest.fixture
def submit(alice: Tenant) -> Callable[..., Job]:
    """Submits a job of Alice's for the examples."""

    def do(task: str, payload: Any, **fields: Any) -> Job:
        new = NewJob(task=task, payload=json.dumps(payload).encode(), **fields)
        return Job.objects.get(pk=services.submit(alice, new).job_id)

    return do


def wait_for(job: Job, status: Status) -> Job:
    """Wait until the job has the status."""

    def reached() -> bool:
        job.refresh_from_db()
        return job.status == status

    wait_until(reached, PATIENCE_SECONDS, f"{job.task} gets {status}")
    return job


def reap() -> None:
    """What a process of `runworkers` does for the jobs of all workers."""
    store.reap("reaper", lambda losses: 0)
    store.promote()


def wait_until_kept(job: Job) -> None:
    """Wait until its worker has run it for long enough to have extended the lease."""

    def is_kept() -> bool:
        job.refresh_from_db()
        if job.started_at is None or job.lease_expires_at is None:
            return False
        return (job.lease_expires_at - job.started_at).total_seconds() > LEASE_SECONDS + 1

    wait_until(is_kept, PATIENCE_SECONDS, "the lease is kept")


def ended(worker: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a worker that ends by itself, and what it said."""
    output, _ = worker.communicate(timeout=PATIENCE_SECONDS)
    return worker.returncode, output


def test_jobs_are_done_and_failures_recorded(start: Start, submit: Callable[..., Job]) -> None:
    shouted = submit("remote:shout", {"text": "hello"})
    sums = [submit("remote:add", [number, 1, 2]) for number in range(10)]
    hopeless = submit("remote:add", "no list")
    failing = submit("remote:shout", {"text": 1}, max_retries=5)
    start()
    assert bytes(wait_for(shouted, Status.DONE).result or b"") == b'"HELLO"'
    assert [json.loads(wait_for(one, Status.DONE).result or b"") for one in sums] == [
        number + 3 for number in range(10)
    ]
    assert wait_for(hopeless, Status.DLQ).reason == "not_retryable"
    assert "list" in hopeless.error_message
    wait_until(lambda: failing.attempts.exists(), PATIENCE_SECONDS)
    assert failing.attempts.first().traceback  # type: ignore[union-attr]


def test_another_worker_runs_the_job_of_one_that_was_killed(
    start: Start, submit: Callable[..., Job]
) -> None:
    job = submit("remote:shout", {"text": "hi", "seconds": 600})
    killed = start(LEASE_SECONDS=LEASE_SECONDS, WORKER_NAME="killed")
    wait_until_kept(job)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    start(LEASE_SECONDS=LEASE_SECONDS, WORKER_NAME="other")

    def runs_elsewhere() -> bool:
        reap()
        job.refresh_from_db()
        return job.status == Status.RUNNING and job.worker.endswith("/other")

    wait_until(runs_elsewhere, PATIENCE_SECONDS, "the other worker has the job")
    assert (job.attempt, job.lost_count, job.fence) == (2, 1, 2)
    assert job.attempts.get().outcome == "lost"


def test_a_worker_keeps_a_job_that_takes_longer_than_its_lease(
    start: Start, submit: Callable[..., Job]
) -> None:
    job = submit("remote:shout", {"text": "hi", "seconds": LEASE_SECONDS + 3})
    start(LEASE_SECONDS=LEASE_SECONDS)

    def is_done() -> bool:
        reap()
        job.refresh_from_db()
        return job.status == Status.DONE

    wait_until(is_done, PATIENCE_SECONDS, "the job is done")


def test_a_cancelled_job_is_stopped(start: Start, submit: Callable[..., Job]) -> None:
    job = submit("remote:shout", {"text": "hi", "seconds": 600})
    start(LEASE_SECONDS=LEASE_SECONDS)
    services.cancel(wait_for(job, Status.RUNNING), actor="command:test")
    wait_for(job, Status.CANCELLED)


def shout_by(command: list[str], folder: Path, **other: str) -> None:
    """Run a copy of the example in which `remote:shout` ends with another statement."""
    example = Path(command[1])
    source, shouts = example.read_text(), SHOUTS[example.name]
    assert source.count(shouts) == 1
    copy = folder / example.name
    copy.write_text(source.replace(shouts, other[example.suffix[1:]]))
    command[1] = str(copy)


def test_an_error_that_no_database_keeps_as_it_is_costs_an_attempt_and_no_slot(
    command: list[str], start: Start, submit: Callable[..., Job], tmp_path: Path
) -> None:
    shout_by(
        command,
        tmp_path,
        py=r'raise ValueError("half \ud800 and \0")',
        mjs=r'throw new Error("\0".padEnd(1_999) + "\u{1f600}");',
    )
    failing = submit("remote:shout", {"text": "x"}, max_retries=0)
    start(SLOTS=1)
    assert wait_for(failing, Status.DLQ).reason == "retries_exhausted"
    wait_for(submit("remote:add", [1]), Status.DONE)


def test_a_result_that_is_no_json_is_a_dead_letter(
    command: list[str], start: Start, submit: Callable[..., Job], tmp_path: Path
) -> None:
    shout_by(command, tmp_path, py="return object()", mjs="return 1n;")
    job = submit("remote:shout", {"text": "x"})
    start()
    assert wait_for(job, Status.DLQ).reason == "not_retryable"


class Deaf(BaseHTTPRequestHandler):
    """A queue that has one job, and answers no heartbeat."""

    beats: int
    over: threading.Event

    def do_POST(self) -> None:
        """Count heartbeats."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/heartbeat"):
            type(self).beats += 1
            self.over.wait(PATIENCE_SECONDS * 3)
            return
        jobs = [] if self.beats else [LEASED]
        body = json.dumps({"jobs": jobs, "poll_after_seconds": 1}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


LEASED = {
    "id": "0197f3c2-5a7b-7c1e-9d3f-2b6a8e4c1d05",
    "fence": 1,
    "task": "remote:shout",
    "payload": {"text": "hi", "seconds": 600},
}


def test_a_heartbeat_that_hangs_does_not_keep_the_next(start: Start) -> None:
    class Queue(Deaf):
        beats, over = 0, threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Queue) as queue:
        threading.Thread(target=queue.serve_forever).start()
        try:
            start(JOBQUEUE_URL=f"http://127.0.0.1:{queue.server_port}", LEASE_SECONDS=0.6, SLOTS=1)
            wait_until(lambda: Queue.beats >= 5, PATIENCE_SECONDS, "the heart beats on")
        finally:
            Queue.over.set()
            queue.shutdown()


class Switched(BaseHTTPRequestHandler):
    """A queue that gives one job, and then refuses to give more: its tenant was switched off."""

    asked: int
    done: list[Any]

    def do_POST(self) -> None:
        """Remember what was done."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told, status = {}, 200
        if self.path.endswith("/ack"):
            self.done.extend(body["leases"])
            told = {"results": [{"ok": True, "code": None}]}
        else:
            type(self).asked += 1
            told, status = ({"jobs": [QUICK]}, 200) if self.asked == 1 else (REFUSAL, 403)
        answer = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


QUICK = {**LEASED, "payload": {"text": "hi", "seconds": 1}}
REFUSAL = {"code": "tenant_inactive"}


def test_a_worker_that_gets_no_more_jobs_finishes_what_it_has(start: Start) -> None:
    class Queue(Switched):
        asked, done = 0, []

    with ThreadingHTTPServer(("127.0.0.1", 0), Queue) as queue:
        threading.Thread(target=queue.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{queue.server_port}"
            code, output = ended(start(JOBQUEUE_URL=url, SLOTS=2))
        finally:
            queue.shutdown()
    assert (code, [report["result"] for report in Queue.done]) == (1, ["HI"])
    assert "tenant_inactive" in output


def test_a_worker_that_is_asked_to_stop_finishes_what_it_has(
    start: Start, submit: Callable[..., Job]
) -> None:
    job = submit("remote:shout", {"text": "hi", "seconds": 2})
    worker = start(SLOTS=1)
    wait_for(job, Status.RUNNING)
    worker.send_signal(signal.SIGTERM)
    assert ended(worker) == (0, "")
    job.refresh_from_db()
    assert (job.status, job.attempt) == (Status.DONE, 1)


def test_a_worker_with_a_bad_key_says_so(start: Start) -> None:
    code, output = ended(start(JOBQUEUE_KEY="jq_wrong"))
    assert code == 1
    assert "authentication_failed" in output
    assert not Worker.objects.exists()
