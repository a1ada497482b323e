"""What is sent again, after how long, and what never is; without a network and without waiting."""

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from itertools import pairwise

import httpx
import pytest

from jobqueue_client import (
    Client,
    Conflict,
    InvalidRequest,
    JobNotDone,
    JobQueueError,
    LimitReached,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
    models,
    operations,
)
from jobqueue_client.errors import api_error
from jobqueue_client.protocol import (
    LONGEST_PAUSE_SECONDS,
    Call,
    Outcome,
    Patience,
    Pause,
    Send,
    Steps,
    answered,
)
from jobs.models import Job, Tenant
from jobs.statuses import Status
from tests.factories import make_job

BARE = json.loads(
    """{"id": "x", "task": "echo", "queue": "q", "status": "DONE", "priority": 0, "payload": null,
    "result": null, "error": null, "reason": null, "attempt": 1, "max_retries": 3, "lost_count": 0,
    "run_at": "2030-01-01T00:00:00Z", "created_at": "2030-01-01T00:00:00Z", "started_at": null,
    "finished_at": null, "lease_expires_at": null, "timeout_seconds": null, "tags": [],
    "worker_tags": [], "idempotency_key": null, "cancel_requested": false, "worker": null,
    "added_later": 1}"""
)
LOST = httpx.ReadError("the connection was reset")
NEVER_SENT = httpx.ConnectError("connection refused")
GOOD = httpx.Response(200, json={"count": 1, "ids": ["a"], "more": False})
ACTION = operations.redrive(["a"], {})
CANCEL = operations.cancel("x")
JOB = httpx.Response(200, json=BARE)


class World:
    """Time passes only in pauses, and by `try_seconds` per try; chance is what it is told to be."""

    def __init__(self, chance: float = 0.5, try_seconds: float = 0) -> None:
        self.now, self.chance, self.try_seconds = 1_000.0, chance, try_seconds
        self.sent: list[Call[object]] = []
        self.pauses: list[float] = []

    def patience(self, seconds: float = 60) -> Patience:
        return Patience(
            give_up_after_seconds=seconds, clock=lambda: self.now, chance=lambda: self.chance
        )

    def drive(self, steps: Steps[object], outcomes: Iterator[Outcome]) -> object:
        """What the steps answer if their tries end like this; raises what they raise."""
        outcome: Outcome = None
        try:
            while True:
                outcome = self._after(steps.send(outcome), outcomes)
        except StopIteration as end:
            return end.value

    def _after(self, step: Send | Pause, outcomes: Iterator[Outcome]) -> Outcome:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        self.sent.append(step.call)
        self.now += self.try_seconds
        return next(outcomes)


def again(*outcomes: Outcome) -> Iterator[Outcome]:
    """These, and the last one for ever."""
    yield from outcomes
    while True:
        yield outcomes[-1]


def test_errors_can_be_sent_to_other_processes() -> None:
    job = models.Job.from_json(BARE)
    for error in (
        api_error(429, {"code": "x", "detail": "No."}, 3),
        JobNotDone(job),
        WaitTimeout(job),
    ):
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))


def refused(status: int, code: str = "some_code", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "No."}, headers=headers)


@pytest.mark.parametrize(
    "outcome", [LOST, httpx.ReadTimeout("slow"), *map(refused, (502, 503, 504))]
)
def test_only_what_is_safe_is_sent_again_when_nobody_knows(outcome: Outcome) -> None:
    world = World()
    world.drive(answered(CANCEL, world.patience()), again(outcome, outcome, JOB))
    assert len(world.sent) == 3
    once = World()
    with pytest.raises((Unreachable, Unavailable)):
        once.drive(answered(ACTION, once.patience()), again(outcome, GOOD))
    assert len(once.sent) == 1


@pytest.mark.parametrize("call", [operations.retry("x"), ACTION, operations.discard("x")])
def test_what_acts_anew_each_time_is_not_repeatable(call: Call[object]) -> None:
    assert not call.is_repeatable


@pytest.mark.parametrize(
    "outcome", [NEVER_SENT, httpx.ConnectTimeout(""), refused(429), refused(409, "try_again")]
)
def test_what_did_nothing_is_always_sent_again(outcome: Outcome) -> None:
    world = World()
    world.drive(answered(ACTION, world.patience()), again(outcome, GOOD))
    assert len(world.sent) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, InvalidRequest), (409, Conflict), (422, InvalidRequest), (500, Unavailable)],
)
def test_a_refusal_is_final(status: int, error: type[JobQueueError]) -> None:
    world = World()
    with pytest.raises(error, match=r"No\. \[some_code, 4|No\. \[some_code, 5"):
        world.drive(answered(CANCEL, world.patience()), again(refused(status)))
    assert len(world.sent) == 1


def test_pauses_are_random_under_a_ceiling_that_doubles_up_to_the_deadline() -> None:
    world = World(chance=1)
    with pytest.raises(Unreachable, match="ConnectError: connection refused"):
        world.drive(answered(CANCEL, world.patience(60)), again(NEVER_SENT))
    growing = [pause for pause in world.pauses if pause < LONGEST_PAUSE_SECONDS]
    assert all(later == 2 * earlier for earlier, later in pairwise(growing))
    assert max(world.pauses) == LONGEST_PAUSE_SECONDS
    assert 40 < world.now - 1_000 < 60
    eager = World(chance=0.001)
    with pytest.raises(Unreachable):
        eager.drive(answered(CANCEL, eager.patience(0.05)), again(NEVER_SENT))
    assert sum(eager.pauses) < 0.05


def test_slow_tries_count_towards_the_deadline() -> None:
    world = World(try_seconds=20)
    with pytest.raises(Unreachable):
        world.drive(answered(CANCEL, world.patience(60)), again(httpx.ReadTimeout("slow")))
    assert len(world.sent) == 3


def test_the_queue_says_when_to_come_back() -> None:
    world = World()
    refusals = again(refused(429, **{"Retry-After": "17"}), GOOD)
    world.drive(answered(ACTION, world.patience()), refusals)
    assert 17 < world.pauses[0] < 18
    late = World()
    with pytest.raises(LimitReached) as caught:
        late.drive(answered(ACTION, late.patience()), again(refused(429, **{"Retry-After": "61"})))
    assert (caught.value.retry_after_seconds, late.pauses) == (61, [])


def test_a_pause_is_logged_without_key_or_payload(caplog: pytest.LogCaptureFixture) -> None:
    world, call = World(), operations.submit("echo", "a secret", {})
    with caplog.at_level(logging.WARNING, "jobqueue_client"), pytest.raises(InvalidRequest):
        world.drive(answered(call, world.patience()), again(NEVER_SENT, refused(400)))
    assert "POST /jobs: No answer from the queue" in caplog.text
    assert "a secret" not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>Welcome</html>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(200, json=[1]),
        httpx.Response(301, headers={"Location": "https://elsewhere.invalid/"}),
    ],
)
def test_somebody_else_answers(answer: httpx.Response) -> None:
    world = World()
    with pytest.raises(UnexpectedAnswer, match="address"):
        world.drive(answered(operations.get("x"), world.patience()), again(answer))


def test_a_proxy_that_speaks_html_is_told_by_its_status() -> None:
    world = World()
    with pytest.raises(Unavailable, match=r"answered 502"):
        world.drive(answered(CANCEL, world.patience(0)), again(httpx.Response(502, text="<html>")))


class LosingReplies(httpx.BaseTransport):
    """Carries out every request, and loses the first replies."""

    def __init__(self, inner: httpx.BaseTransport, replies: int) -> None:
        self.inner, self.left = inner, replies

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.inner.handle_request(request)
        if self.left:
            self.left -= 1
            raise httpx.ReadError("the reply was lost")
        return response


@pytest.fixture
def losing(
    alice: Tenant, key_of: Callable[..., str], application_transport: httpx.BaseTransport
) -> Iterator[Client]:
    """A client that never hears the first two replies."""
    transport = LosingReplies(application_transport, 2)
    with Client("http://testserver", key_of(alice), transport=transport) as client:
        yield client


@pytest.mark.django_db
def test_a_lost_reply_never_doubles_a_job(losing: Client) -> None:
    job = losing.submit("echo", {"order": 17}, delay_seconds=60)
    assert [str(one.pk) for one in Job.objects.all()] == [job.id]


@pytest.mark.django_db
def test_a_lost_reply_never_doubles_many_jobs(losing: Client) -> None:
    ids = losing.submit_many([{"payload": number} for number in range(3)])
    assert Job.objects.count() == 3
    assert {str(one.pk) for one in Job.objects.all()} == set(ids)


@pytest.mark.django_db
def test_a_lost_reply_does_not_redrive_twice(losing: Client, alice: Tenant) -> None:
    dead = make_job(alice, Status.DLQ)
    with pytest.raises(Unreachable):
        losing.retry(str(dead.pk))
    dead.refresh_from_db()
    assert dead.status == Status.PENDING


def test_wait_asks_the_queue_to_hold_and_polls_where_it_does_not() -> None:
    running, done = ({**BARE, "status": status} for status in ("RUNNING", "DONE"))
    held = {"Preference-Applied": "wait"}
    world = World(try_seconds=1)
    answers = [
        httpx.Response(200, json=running, headers=held),
        httpx.Response(200, json=running, headers=held),
        httpx.Response(200, json=done, headers=held),
    ]
    world.drive(operations.wait("x", None, world.patience()), iter(answers))
    assert world.pauses == []
    assert {call.headers["Prefer"] for call in world.sent} == {"wait=25"}
    hasty = World()
    hasty.drive(operations.wait("x", None, hasty.patience()), iter(answers))
    assert len(hasty.pauses) == 2, "an answer that came at once was not held"
    polling = World(chance=1)
    looks = [httpx.Response(200, json=running) for _ in range(20)]
    polling.drive(
        operations.wait("x", 600, polling.patience()),
        iter([*looks, httpx.Response(200, json=done)]),
    )
    assert polling.pauses == sorted(polling.pauses)
    assert (polling.pauses[0], polling.pauses[-1]) == (0.25, 5)


def test_wait_gives_up_when_its_own_time_is_over() -> None:
    world = World()
    with pytest.raises(Unreachable):
        world.drive(operations.wait("x", 3, world.patience(60)), again(NEVER_SENT))
    assert world.now - 1_000 <= 3
