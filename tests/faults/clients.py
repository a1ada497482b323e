"""Clients of the queue under faults: they submit, pause and set limits, and write down the answers.

A client that got no answer does not know: it asks again with the same keys until it has one.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Any

from django.db import Error, connections

from jobs import services
from jobs.errors import TryAgain
from jobs.keys import create_api_key
from jobs.models import Lane, TaskLimit, Tenant
from jobs.submission import NewJob
from jobs.tenants import create_tenant
from tests.faults.plan import LANES, TASKS, TENANTS, Batch, Wish
from tests.faults.record import note, now

ACTOR = "command:faults"
AGAIN_SECONDS = 0.2
ANSWER_SECONDS = 15
TRY_LATER = frozenset({429, 500, 502, 503, 504})


def prepare_tenants() -> str:
    """Make the tenants and all limits; answers an API key of the one that submits over REST."""
    for slug, limits in TENANTS.items():
        create_tenant(slug, actor=ACTOR, submissions_per_minute=None, **limits)
        _note_limit("tenant", slug, **limits)
    for name, limits in LANES.items():
        slug, queue = name.split("/")
        Lane.objects.create(tenant=Tenant.objects.get(slug=slug), queue=queue, **limits)
        _note_limit("lane", name, **limits)
    for task, limits in TASKS.items():
        TaskLimit.objects.create(task=task, **limits)
        _note_limit("task", task, **limits)
    _, key = create_api_key(Tenant.objects.get(slug="free"), actor=ACTOR)
    return key


def _note_limit(
    scope: str,
    name: str,
    max_running: int | None = None,
    starts_per_minute: int | None = None,
    start_burst: int = 1,
) -> None:
    rate = starts_per_minute and starts_per_minute / 60
    note("limit", scope=scope, name=name, max_running=max_running, rate=rate, burst=start_burst)


class NoAnswer(Exception):
    """It may have happened or not."""


class Clients:
    """Submit all batches, in threads, so many jobs a second; every eighth batch over REST.

    `stop` ends them early, in between two batches.
    """

    def __init__(self, batches: Iterator[Batch], *, per_second: float, port: int, key: str) -> None:
        self._batches = enumerate(batches)
        self._lock = threading.Lock()
        self._per_second = per_second
        self._web = (port, key)
        self._began = time.monotonic()
        self._taken = 0
        self.stop = threading.Event()
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        """Submit until there is nothing left; for several threads at once."""
        try:
            self._run()
        finally:
            connections.close_all()

    def _run(self) -> None:
        while not self.stop.is_set():
            with self._lock:
                number, batch = next(self._batches, (0, None))
                if batch is None:
                    return
                due = self._began + self._taken / self._per_second
                self._taken += len(batch)
            self.stop.wait(max(0, due - time.monotonic()))
            by_rest = number % 8 == 0 and batch[0].tenant == "free"
            call = self._over_rest if by_rest else _directly
            self._submit(batch, call)
            if number % 10 == 0:  # an anxious client, who asks twice
                self._submit(batch, call)

    def _submit(self, batch: Batch, call: Callable[[Batch], list[str]]) -> None:
        while not self.stop.is_set():
            for wish in batch:
                asked = {"key": wish.key, "tenant": wish.tenant, "expect": wish.expect}
                note("submit", result="invoke", due=now() + wish.delay, **asked)
            try:
                jobs = call(batch)
            except NoAnswer as error:
                for wish in batch:
                    note("submit", result="unknown", key=wish.key, error=repr(error))
                time.sleep(AGAIN_SECONDS)
                continue
            for wish, job in zip(batch, jobs, strict=True):
                note("submit", result="ok", key=wish.key, job=job)
            return

    def _over_rest(self, batch: Batch) -> list[str]:
        port, key = self._web
        body = json.dumps({"jobs": [_asked(wish) for wish in batch]})
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        web = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        try:
            web.request("POST", "/api/v1/jobs/bulk", body, headers)
            answer = web.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(repr(error)) from error
        finally:
            web.close()
        self.statuses[answer.status] += 1
        if answer.status in TRY_LATER:
            raise NoAnswer
        if answer.status not in {200, 201}:
            raise AssertionError(f"{answer.status}: {content.decode()[:500]}")
        return list(json.loads(content)["ids"])


def _directly(batch: Batch) -> list[str]:
    tenant = _answered(lambda: Tenant.objects.get(slug=batch[0].tenant))
    jobs = [_as_job(wish) for wish in batch]
    return [str(one.job_id) for one in _answered(lambda: services.submit_many(tenant, jobs))]


def _answered(call: Callable[[], Any]) -> Any:
    """What the call answers. Raises `NoAnswer` if the database has none."""
    try:
        return call()
    except (Error, TryAgain) as error:
        connections.close_all()
        raise NoAnswer(repr(error)) from error


def _as_job(wish: Wish) -> NewJob:
    return NewJob(**_asked(wish) | {"payload": json.dumps(wish.payload).encode()})


def _asked(wish: Wish) -> dict[str, Any]:
    asked = {
        "task": wish.task,
        "payload": wish.payload,
        "queue": wish.queue,
        "delay_seconds": wish.delay or None,
        "max_retries": wish.max_retries,
        "timeout_seconds": wish.timeout,
        "idempotency_key": wish.key,
    }
    return {name: value for name, value in asked.items() if value is not None}


class Operator:
    """Pauses a lane and changes limits, all the time; leaves nothing paused and nothing limited."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(f"{seed} operator")
        self.stop = threading.Event()

    def run(self) -> None:
        """Act until `stop`."""
        while not self.stop.is_set():
            self._pause(self._rng.uniform(0.1, 1))
            choose = self._rng.choice
            self._set_limits(choose([3, 5, 10, None]), choose([2, 3, 5, None]))
            self.stop.wait(self._rng.uniform(0.5, 3))
        self._set_limits(None, None)
        connections.close_all()

    def _pause(self, seconds: float) -> None:
        self._insist(lambda: self._set_paused(paused=True))
        note("pause", lane="gated/gate")
        self.stop.wait(seconds)
        note("resume", lane="gated/gate")
        self._insist(lambda: self._set_paused(paused=False))

    def _set_paused(self, *, paused: bool) -> None:
        tenant = Tenant.objects.get(slug="gated")
        services.set_queue_paused(tenant, "gate", paused=paused, actor=ACTOR)

    def _set_limits(self, of_tenant: int | None, of_lane: int | None) -> None:
        self._set("tenant", "tight", lambda: Tenant.objects.get(slug="tight"), of_tenant)
        thin = Lane.objects.filter(tenant__slug="narrow", queue="thin")
        self._set("lane", "narrow/thin", thin.get, of_lane)

    def _set(
        self, scope: str, name: str, find: Callable[[], Tenant | Lane], most: int | None
    ) -> None:
        asked = now()
        self._insist(lambda: services.change_limits(find(), actor=ACTOR, max_running=most))
        note("limit", scope=scope, name=name, max_running=most, asked=asked)

    def _insist(self, act: Callable[[], None]) -> None:
        """Act until there is an answer, also when it is time to stop: nothing stays paused."""
        while True:
            try:
                _answered(act)
            except NoAnswer:
                time.sleep(AGAIN_SECONDS)
            else:
                return
