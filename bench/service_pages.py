"""Every page of the dashboard and the admin, and every list of the API, in a large installation.

One process of the WSGI server of the deployment, one request at a time: each page some times over,
and those that people begin with once more as the first that a fresh server answers.
"""

import http.client
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from statistics import median
from typing import NamedTuple

import psutil
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.cache import cache

from bench import pages_list, pages_world
from bench.pages_list import Page
from bench.scenario import BenchError, Figure, Sample, Settings, say
from bench.service_server import OURS, served
from tests.harness import wait_until
from tests.postgres import own_server

JOBS, TENANTS = 300_000, 40
LONG_JOBS, LONG_TENANTS = 10_000_000, 200
TIMES = 5
PATIENCE_SECONDS = 60
SHOWN_AT_THE_END = 10

Headers = Mapping[str, str]


class Timed(NamedTuple):
    """Milliseconds that a page took: of time, and of the processors, with those of the database."""

    passed: float
    worked: float
    page: Page


def pages(settings: Settings) -> Iterator[Sample]:
    """Pages of who looks after it all, of members, and of a key."""
    pages_list.refuse_unknown_routes()
    jobs, tenants = (LONG_JOBS, LONG_TENANTS) if settings.is_long else (JOBS, TENANTS)
    world = pages_world.fill(settings.jobs(jobs), tenants)
    for _ in settings.each_run():
        headers = _headers(world)
        usual = _slowest_last(_usual(world, headers))
        first = _slowest_last(_first(world, headers))
        yield {
            "slowest page, p50": Figure(usual[-1].passed),
            "most work for a page": Figure(max(page.worked for page in usual)),
            "slowest first page": Figure(first[-1].passed),
            "pages": Figure(len(usual)),
        }


def _headers(world: pages_world.World) -> dict[str, Headers]:
    """What the requests of each of them say of who sends them."""
    cookies = {name: {"Cookie": _cookie(user)} for name, user in world.people.items()}
    return {**cookies, "key": {"Authorization": f"Bearer {world.key}"}, "nobody": {}}


def _cookie(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return f"{django_settings.SESSION_COOKIE_NAME}={session.session_key}"


def _usual(world: pages_world.World, headers: Mapping[str, Headers]) -> Iterator[Timed]:
    with served(OURS) as port:
        _wait_for(port)
        for page in pages_list.pages(world):
            first, *_ = _timed(port, page, headers[page.who], times=1)
            usual = _timed(port, page, headers[page.who], times=TIMES)
            say(f"    {_told(usual)}, first {first:6.0f}  {page.who}  {page.address}")
            yield usual


def _first(world: pages_world.World, headers: Mapping[str, Headers]) -> Iterator[Timed]:
    for page in pages_list.first_pages(world):
        cache.clear()
        with served(OURS) as port:
            _wait_for(port)
            first = _timed(port, page, headers[page.who], times=1)
        say(f"    {_told(first)}, fresh server  {page.who}  {page.address}")
        yield first


def _timed(port: int, page: Page, headers: Headers, *, times: int) -> Timed:
    """The median of the time, and the average of the work: it is told in steps of 10 ms."""
    before = _work()
    passed = median(_milliseconds(port, page, headers) for _ in range(times))
    return Timed(passed, (_work() - before) / times, page)


def _work() -> float:
    """Milliseconds of processor time so far: of the server, and of the database if it is ours."""
    processes = psutil.Process().children(recursive=True)
    if (server := own_server()) and server.pid:
        database = psutil.Process(server.pid)
        processes += [*database.children(), database]
    spent = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return 1_000 * spent


def _told(timed: Timed) -> str:
    return f"{timed.passed:6.0f} ms, {timed.worked:6.0f} ms of work"


def _slowest_last(found: Iterator[Timed]) -> list[Timed]:
    measured = sorted(found)
    for one in measured[-SHOWN_AT_THE_END:]:
        say(f"    among the slowest: {_told(one)}  {one.page.who}  {one.page.address}")
    return measured


def _wait_for(port: int) -> None:
    """Until the process behind the port has loaded; that asks nothing of the database."""
    live = Page("nobody", "/health/live")
    wait_until(lambda: _milliseconds(port, live, {}), PATIENCE_SECONDS, "the server answers")


def _milliseconds(port: int, page: Page, headers: Headers) -> float:
    """How long the whole answer takes. Raises `BenchError` if it is no success."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    started = time.perf_counter()
    connection.request("GET", page.address, headers=dict(headers))
    answer = connection.getresponse()
    body = answer.read()
    took = 1_000 * (time.perf_counter() - started)
    connection.close()
    if answer.status != 200:
        raise BenchError(f"{page} was answered {answer.status}: {body[:300]!r}")
    return took
