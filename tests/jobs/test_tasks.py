"""The tasks that come with the product."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import Discard
from jobs.registry import RawJSON
from jobs.tasks import Unlucky, echo, fail, http_request, sleep, sum_to


def context(**facts: Any) -> Any:
    return SimpleNamespace(**facts)


def test_echo_returns_the_payload_as_it_was_sent() -> None:
    sent = b'{"b": 1.0,  "a": 1e2}'
    answer = echo.func(context(payload=sent), {"b": 1.0, "a": 100.0})
    assert (answer, type(answer)) == (sent, RawJSON)


def test_fail_fails_so_many_times() -> None:
    for attempt in (1, 2):
        with pytest.raises(Unlucky, match=f"attempt {attempt} of 2"):
            fail.func(context(attempt=attempt), times=2)
    assert fail.func(context(attempt=3), times=2) == "succeeded at attempt 3"


@pytest.mark.parametrize(
    ("n", "total"), [(0, 0), (1, 1), (100, 5_050), (10**12, 500000000000500000000000)]
)
def test_sum_to_adds_up(n: int, total: int) -> None:
    assert sum_to.func(n) == total


def test_sum_to_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        sum_to.func(-1)


def test_sleep_answers_how_long() -> None:
    assert asyncio.run(sleep.func(0)) == 0


def test_http_request_reaches_nothing_inside() -> None:
    with pytest.raises(Discard):
        asyncio.run(http_request.func("http://169.254.169.254/latest/meta-data/"))


@pytest.mark.parametrize("task", [echo, sleep, fail, sum_to, http_request])
def test_rest_may_call_it(task: Any) -> None:
    assert task.expose == task.name
