"""A child's log: kept from start to start, set aside when it is large."""

import sys
from pathlib import Path

import pytest

from demo import processes
from demo.processes import Child, stop_all


def run(log: Path, text: str) -> Child:
    """A child that wrote the text and ended."""
    child = Child("web", [sys.executable, "-c", f"print({text!r})"], log=log)
    while child.exit_code is None:
        pass
    stop_all([child], within_seconds=1)
    return child


def test_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log" / "web.log"
    run(log, "first")
    second = run(log, "second")
    assert [line for line in log.read_text().splitlines() if line[0] != "-"] == ["first", "second"]
    assert log.read_text().count("--- web started at ") == 2
    assert second.last_lines() == "second"


def test_large_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", 10)
    log = tmp_path / "web.log"
    run(log, "first")
    run(log, "second")
    assert "first" not in log.read_text()
    assert "first" in (tmp_path / "web.log.1").read_text()
