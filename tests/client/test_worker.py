"""A tenant's own worker, of a real server: leases kept, outcomes told once, jobs given back."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from jobqueue_client import (
    Client,
    Discard,
    Forbidden,
    Job,
    LeasedJob,
    NotAuthenticated,
    Retry,
    Worker,
    leases,
    worker,
)
from jobs.models import Tenant
from tests.harness import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60
TASK = "remote:task"
Handler = Callable[[LeasedJob], Any]


@pytest.fixture(autouse=True)
def beats_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LONGEST_BEAT_SECONDS", 0.2)
    monkeypatch.setattr(worker, "WAIT_SECONDS", 1.0)


def ran(client: Client, handler: Handler, payload: Any = None, **options: Any) -> Job:
    """The job after a worker has drained the queue."""
    job = client.submit(TASK, payload, **options)
    Worker(client, {TASK: handler}).run(drain=True)
    return client.get(job)


@contextmanager
def running(client: Client, handler: Handler, **options: Any) -> Iterator[Worker]:
    """A worker in a thread, stopped at the end."""
    made = Worker(client, {TASK: handler}, **options)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join(PATIENCE)


def test_a_handler_answers_the_result(live: Client) -> None:
    seen: list[LeasedJob] = []

    def handler(job: LeasedJob) -> Any:
        seen.append(job)
        return {"sum": sum(job.payload)}

    done = ran(live, handler, [1, 2, 3.5])
    assert (done.status, done.result, done.attempt) == ("DONE", {"sum": 6.5}, 1)
    assert (seen[0].id, seen[0].payload_text, seen[0].fence > 0) == (done.id, "[1, 2, 3.5]", True)


class Unprintable(Exception):
    """An error of a program that has one more."""

    def __str__(self) -> str:
        raise OSError


def raising(error: BaseException) -> Handler:
    def handler(job: LeasedJob) -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "error_type"),
    [
        (KeyError("no such thing"), "FAILED", "KeyError"),
        (ValueError("half \ud800 and \0"), "FAILED", "ValueError"),
        (SystemExit(1), "FAILED", "SystemExit"),
        (asyncio.CancelledError(), "FAILED", "CancelledError"),
        (Retry(after=600, message="later"), "FAILED", "Retry"),
        (Discard("nobody wants it"), "DLQ", "Discard"),
        (Unprintable(), "FAILED", "Unprintable"),
    ],
)
def test_what_a_handler_raises_decides(
    live: Client, error: BaseException, status: str, error_type: str
) -> None:
    job = ran(live, raising(error))
    assert job.error
    assert (job.status, job.error.type) == (status, error_type)
    if isinstance(error, Retry):
        assert (job.run_at - job.attempts[0].finished_at).total_seconds() == pytest.approx(
            600, abs=30
        )


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -1.0])
def test_a_retry_at_no_time_is_a_failure(live: Client, after: float) -> None:
    job = ran(live, lambda leased: raising(Retry(after=after))(leased))
    assert job.error
    assert (job.status, job.error.type) == ("FAILED", "ValueError")


def test_a_result_that_is_no_json_is_a_failure(live: Client) -> None:
    job = ran(live, lambda leased: object())
    assert job.error
    assert (job.status, job.error.type) == ("FAILED", "TypeError")


@pytest.mark.parametrize("result", ["a\0b", "x" * 1_500_000, "x" * 6_000_000])
def test_a_result_that_cannot_be_kept_is_a_dead_letter(live: Client, result: str) -> None:
    job = ran(live, lambda leased: result)
    assert job.error
    assert (job.status, "refused" in job.error.message) == ("DLQ", True)


def test_a_cancelled_job_is_told_to_stop(live: Client) -> None:
    started = threading.Event()

    def handler(job: LeasedJob) -> None:
        started.set()
        assert job.stopping.wait(PATIENCE)
        raise RuntimeError("stopped")

    with running(live, handler):
        job = live.submit(TASK)
        assert started.wait(PATIENCE)
        live.cancel(job)
        assert live.wait(job, PATIENCE).status == "CANCELLED"


def test_a_long_job_keeps_its_lease(live: Client) -> None:
    go_on = threading.Event()

    def handler(job: LeasedJob) -> None:
        assert go_on.wait(PATIENCE)

    with running(live, handler, slots=2, lease_seconds=5):
        job = live.submit(TASK)
        first = wait_until(lambda: live.get(job).lease_expires_at, PATIENCE, "it is leased")
        wait_until(lambda: _expires(live, job) > first, PATIENCE, "the lease is extended")
        go_on.set()
        assert live.wait(job, PATIENCE).status == "DONE"


def _expires(client: Client, job: Job) -> Any:
    return client.get(job).lease_expires_at


@pytest.mark.parametrize("heeds", [True, False])
def test_a_stopped_worker_gives_its_jobs_back_unspent(
    live: Client, monkeypatch: pytest.MonkeyPatch, heeds: bool
) -> None:
    monkeypatch.setattr(worker, "LAST_SECONDS", 0.5)
    started, end = threading.Event(), threading.Event()

    def handler(job: LeasedJob) -> None:
        started.set()
        assert (job.stopping if heeds else end).wait(PATIENCE)
        raise RuntimeError("stopped")

    with running(live, handler, grace_seconds=0.1):
        job = live.submit(TASK)
        assert started.wait(PATIENCE)
    back = live.get(job)
    assert (back.status, back.attempt, back.attempts) == ("PENDING", 0, ())
    end.set()
    wait_until(lambda: not _job_threads(), PATIENCE, "the handler's thread ends")


def _job_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("jobqueue-")]


def test_as_many_run_as_there_are_slots(live: Client) -> None:
    both = threading.Barrier(2)

    def handler(job: LeasedJob) -> None:
        both.wait(PATIENCE)

    with running(live, handler, slots=2):
        for job_id in live.submit_many([{"task": TASK}] * 4):
            assert live.wait(job_id, PATIENCE).status == "DONE"


Sending = Callable[[], httpx.Response]


class Faulty(httpx.HTTPTransport):
    """A network that treats the first requests to one address badly, and then well."""

    def __init__(self, path: str, *faults: Callable[[Sending], httpx.Response]) -> None:
        super().__init__()
        self.path, self.faults = f"/api/v1{path}", list(faults)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        def send() -> httpx.Response:
            return super(Faulty, self).handle_request(request)

        is_meant = request.url.path == self.path and self.faults
        return self.faults.pop(0)(send) if is_meant else send()


def lost(send: Sending) -> httpx.Response:
    send().read()
    raise httpx.ReadError("the reply was lost")


def unavailable(send: Sending) -> httpx.Response:
    return httpx.Response(503, json={"code": "unavailable", "detail": "Not now."})


def unreachable(send: Sending) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@pytest.fixture
def faulty(server: str, alice: Tenant, key_of: Callable[..., str]) -> Callable[..., Client]:
    """Makes Alice's clients behind such networks."""
    return lambda *faults: Client(server, key_of(alice), transport=Faulty(*faults))


@pytest.mark.parametrize(
    ("path", "handler", "status"),
    [
        ("/leases/ack", lambda job: "fine", "DONE"),
        ("/leases/fail", raising(OSError("no")), "FAILED"),
    ],
)
def test_an_outcome_whose_answer_was_lost_is_recorded_once(
    faulty: Callable[..., Client], path: str, handler: Handler, status: str
) -> None:
    with faulty(path, lost, unavailable) as client:
        job = ran(client, handler)
    assert (job.status, job.attempt, job.lost_count) == (status, 1, 0)


def test_a_worker_waits_for_a_queue_that_does_not_answer(faulty: Callable[..., Client]) -> None:
    with faulty("/leases", unavailable, unreachable) as client:
        assert ran(client, lambda job: 1).status == "DONE"


def test_a_lost_lease_stops_its_handler(live: Client) -> None:
    seen: list[LeasedJob] = []

    def handler(job: LeasedJob) -> None:
        seen.append(job)
        assert len(seen) > 1 or job.stopping.wait(PATIENCE)

    with running(live, handler):
        job = live.submit(TASK)
        (first,) = wait_until(lambda: list(seen), PATIENCE, "it is leased")
        live.call(leases.release([first]))
        assert live.wait(job, PATIENCE).attempt == 1
    assert seen[1].fence > first.fence


def test_a_refusal_ends_the_worker(server: str) -> None:
    with Client(server, "jq_nobody") as client, pytest.raises(NotAuthenticated):
        Worker(client, {TASK: lambda job: None}).run()


def test_a_refusal_leaves_running_jobs_their_grace(faulty: Callable[..., Client]) -> None:
    refused = threading.Event()

    def refuse(send: Sending) -> httpx.Response:
        refused.set()
        return httpx.Response(403, json={"code": "insufficient_scope", "detail": "No more."})

    def handler(job: LeasedJob) -> bool:
        assert refused.wait(PATIENCE)
        return job.stopping.wait(1)

    with faulty("/leases", lambda send: send(), refuse) as client:
        job = client.submit(TASK)
        with pytest.raises(Forbidden):
            Worker(client, {TASK: handler}, slots=2, grace_seconds=PATIENCE).run()
        done = client.get(job)
    assert (done.status, done.result) == ("DONE", False)


class Timed(httpx.HTTPTransport):
    """A network that notes for how long a heartbeat may take."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/heartbeat"):
            self.noted.append(max(request.extensions["timeout"].values()))
        return super().handle_request(request)


def test_a_heartbeat_never_takes_as_long_as_its_lease(
    server: str, alice: Tenant, key_of: Callable[..., str]
) -> None:
    network = Timed()

    def handler(job: LeasedJob) -> None:
        wait_until(lambda: network.noted, PATIENCE, "the lease is kept")

    with Client(server, key_of(alice), timeout_seconds=PATIENCE, transport=network) as client:
        job = client.submit(TASK)
        Worker(client, {TASK: handler}, lease_seconds=30).run(drain=True)
        assert client.get(job).status == "DONE"
    assert max(network.noted) <= 10


def test_a_worker_can_drain_again(live: Client) -> None:
    drained = Worker(live, {TASK: lambda job: job.payload})
    for number in range(2):
        job = live.submit(TASK, number)
        drained.run(drain=True)
        assert live.result(job, PATIENCE) == number


@pytest.mark.parametrize("options", [{"handlers": {}}, {"slots": 0}, {"slots": 1_001}])
def test_a_worker_without_work_is_refused(options: dict[str, Any]) -> None:
    with Client("http://q.invalid", "jq_a") as client, pytest.raises(ValueError, match="needs"):
        Worker(client, **{"handlers": {TASK: print}} | options)


def test_what_a_handler_logs_is_kept_with_its_attempt(
    live: Client, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("shop.resizer")
    caplog.set_level(logging.INFO, log.name)
    heard = threading.Event()

    def handler(job: LeasedJob) -> None:
        log.info("width %d", 640)
        log.debug("not caught")
        assert heard.wait(PATIENCE)
        log.error("no answer \0")

    job = live.submit(TASK)
    with running(live, handler):
        wait_until(lambda: [x.message for x in live.logs(job)] == ["width 640"], PATIENCE, "heard")
        heard.set()
        assert live.wait(job, PATIENCE).status == "DONE"
    told = [(x.number, x.level, x.logger, x.message) for x in live.logs(job)]
    assert told == [
        (1, "info", "shop.resizer", "width 640"),
        (2, "error", "shop.resizer", "no answer \ufffd"),
    ]
