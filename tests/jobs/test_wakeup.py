"""Waking the workers is a hint: coalesced, and never a reason for a submission to fail."""

import threading
from types import SimpleNamespace

import pytest
from django.db import InterfaceError, OperationalError

from jobs import wakeup


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that sent a NOTIFY, on a database where that is possible."""
    threads: list[str] = []
    monkeypatch.setattr(wakeup, "is_postgresql", lambda: True)
    monkeypatch.setattr(wakeup, "_last_sent", -1_000.0)
    monkeypatch.setattr(wakeup, "_send", lambda: threads.append(threading.current_thread().name))
    return threads


def test_signals_in_quick_succession_are_sent_as_two(sent: list[str]) -> None:
    for _ in range(50):
        wakeup.signal()
    assert len(sent) == 1
    assert wakeup._trailing is not None
    wakeup._trailing.join(10)
    assert len(sent) == 2


def test_nothing_is_sent_where_workers_watch_the_file(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "is_postgresql", lambda: False)
    wakeup.signal()
    assert sent == []


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_connection_that_broke_after_the_commit_is_not_the_callers_trouble(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def cursor() -> None:
        raise error("connection already closed")

    monkeypatch.setattr(wakeup, "is_postgresql", lambda: True)
    monkeypatch.setattr(wakeup, "_last_sent", -1_000.0)
    monkeypatch.setattr(wakeup, "connection", SimpleNamespace(cursor=cursor))
    wakeup.signal()
    assert "polling" in caplog.text
