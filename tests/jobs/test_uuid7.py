"""Identifiers that sort by the time they were made."""

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import SimpleNamespace

import pytest

from jobs import uuid7 as module
from jobs.uuid7 import first_id, uuid7


def test_is_a_uuid_of_version_7() -> None:
    one = uuid7()
    assert (one.version, one.variant) == (7, "specified in RFC 4122")


def test_begins_with_the_milliseconds_since_1970() -> None:
    before = time.time_ns() // 1_000_000
    milliseconds = uuid7().int >> 80
    assert before <= milliseconds <= time.time_ns() // 1_000_000 + 1


def test_the_first_id_of_a_moment_lies_before_all_that_are_made_then() -> None:
    before = first_id(time.time() - 1)
    made = uuid7()
    assert before < made < first_id(time.time() + 1)


def test_times_without_ids_have_the_nearest() -> None:
    assert first_id(-1e12).int == 0
    assert first_id(1e15) == first_id(1e16) > uuid7()


def test_each_is_larger_than_the_one_before() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_order_survives_a_clock_that_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = uuid7()
    monkeypatch.setattr(module.time, "time_ns", lambda: 0)
    assert before < uuid7() < uuid7()


def test_threads_never_make_the_same() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [uuid7() for _ in range(500)], range(8)))
    assert len({one for some in made for one in some}) == 4_000
    assert all(some == sorted(some) for some in made)


def test_ids_follow_a_clock_that_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_last", 0)
    monkeypatch.setattr(module, "_ahead_ns", 0)
    module.follow(time.time() + 7_200)
    ahead = uuid7()
    assert abs((ahead.int >> 80) / 1_000 - time.time() - 7_200) < 60
    module.follow(time.time() - 7_200)
    assert uuid7() > ahead, "ids rise, whatever the clock does"


def test_a_clock_that_differs_little_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=lambda: 1_000 * module.SECOND_NS))
    monkeypatch.setattr(module, "_ahead_ns", 0)
    for moment, ahead in ((1_000.9, 0), (1_001.5, 1_500_000_000), (999.1, 0), (990, -(10**10))):
        module.follow(moment)
        assert module._ahead_ns == ahead


def _noise(pipe: Connection) -> None:
    pipe.send(uuid7().hex[-15:])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_noise_of_its_own() -> None:
    """It begins with its parent's memory: both would go on with the same random bits."""
    uuid7()
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_noise, args=[theirs], daemon=True)
    child.start()
    theirs.close()  # if the child dies, there is an end to be read
    assert ours.poll(60), "the child says something"
    assert ours.recv() != uuid7().hex[-15:]
    child.join(60)
    assert child.exitcode == 0
    ours.close()
    child.close()
