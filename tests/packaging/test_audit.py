"""The audit fails for a known vulnerability, and says so where it could not look."""

from typing import Any

import pytest

from tests import audit

SAFE = {"name": "a", "version": "1.0", "vulns": []}
VULNERABLE = {
    "name": "b",
    "version": "2.0",
    "vulns": [{"id": "CVE-2099-1", "fix_versions": ["2.1"], "aliases": [], "description": "x"}],
}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
UNKNOWN_TOO = {"name": "a", "skip_reason": "Dependency not found on PyPI"}


def run(monkeypatch: pytest.MonkeyPatch, **answers: list[dict[str, Any]]) -> int:
    """The audit's exit code where the services answer like this."""
    monkeypatch.setattr(audit, "_ask", answers.__getitem__)
    return audit.main(["pypi", "osv"])


def test_a_known_vulnerability_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, pypi=[SAFE, VULNERABLE]) == 1
    assert "VULNERABLE: b 2.0: CVE-2099-1, fixed in 2.1" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", [[], [UNKNOWN_TOO, UNKNOWN]])
def test_without_anybody_to_ask_it_says_that_it_did_not_run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    nothing: list[dict[str, Any]],
) -> None:
    assert run(monkeypatch, pypi=nothing, osv=[]) == 0
    assert "DID NOT RUN" in capsys.readouterr().out


def test_the_second_service_is_asked_about_what_the_first_does_not_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, pypi=[SAFE, UNKNOWN], osv=[UNKNOWN_TOO, VULNERABLE]) == 1
    assert "2 packages checked, 1 vulnerable." in capsys.readouterr().out


def test_what_was_not_looked_for_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, pypi=[SAFE, UNKNOWN], osv=[]) == 0
    assert "unknown to the service: b" in capsys.readouterr().out
