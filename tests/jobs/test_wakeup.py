"""Waking the workers is a hint: coalesced, and never a reason for a submission to fail."""

import threading
import time
from types import SimpleNamespace

import pytest
from django.db import InterfaceError, OperationalError

from jobs import wakeup
from tests.harness import wait_until


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that sent a NOTIFY, on a database where that is possible."""
    threads: list[str] = []
    monkeypatch.setattr(wakeup, "is_postgresql", lambda: True)
    monkeypatch.setattr(wakeup, "_waker", wakeup._Waker())
    monkeypatch.setattr(wakeup, "_send", lambda: threads.append(threading.current_thread().name))
    return threads


def test_signals_in_quick_succession_are_sent_as_two(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: is_over.wait(60))
    monkeypatch.setattr(wakeup, "GAP_SECONDS", 60)
    monkeypatch.setattr(wakeup, "time", clock)
    for _ in range(50):
        wakeup.signal()
    is_over.set()
    wait_until(lambda: len(sent) == 2)
    assert len(set(sent)) == 2, "the delayed one does not keep its caller waiting"


def test_while_a_delayed_one_is_on_its_way_no_caller_sends(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "GAP_SECONDS", 60)
    monkeypatch.setattr(wakeup._Waker, "_serve", lambda self: None)  # its thread is late
    wakeup.signal()
    wakeup.signal()
    monkeypatch.setattr(wakeup._waker, "_sent_at", 0.0)
    wakeup.signal()
    assert sent == [threading.current_thread().name]


def test_nothing_is_sent_where_workers_watch_the_file(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "is_postgresql", lambda: False)
    wakeup.signal()
    assert sent == []


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_connection_that_broke_after_the_commit_is_not_the_callers_trouble(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(*query: object) -> None:
        raise error("connection already closed")

    monkeypatch.setattr(wakeup, "is_postgresql", lambda: True)
    monkeypatch.setattr(wakeup, "_waker", wakeup._Waker())
    monkeypatch.setattr(wakeup, "fetch", fetch)
    wakeup.signal()
    assert "polling" in caplog.text
