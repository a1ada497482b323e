"""`python -m tests` leaves out on PostgreSQL what is the same anywhere, and nothing else."""

import re

import pytest

from tests import __main__ as suite
from tests.__main__ import ANYWHERE
from tests.architecture.rules import ROOT
from tests.chromium import MISSING

TEST = re.compile(r"^\s*(?:async )?def (test_\w+)", re.M)


def names_of_tests() -> list[str]:
    """As pytest has them, without classes and parameters."""
    return [
        f"{path.relative_to(ROOT)}::{name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in TEST.findall(path.read_text())
    ]


@pytest.mark.parametrize("entry", ANYWHERE)
def test_what_runs_beside_sqlite_alone_is_a_folder_a_file_or_one_test(entry: str) -> None:
    found = {name for name in names_of_tests() if name.startswith(entry)}
    assert found
    if not entry.endswith(("/", ".py")):
        assert found == {entry}


def test_that_there_is_no_browser_is_said_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "chromium", lambda: None)
    monkeypatch.setattr(suite, "_started", lambda _: [])
    monkeypatch.setattr(suite, "_pass_on_signals", lambda _: None)

    suite.main([])

    assert capsys.readouterr().out.splitlines()[-1] == MISSING
