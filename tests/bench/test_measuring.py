"""A measurement that went wrong says so and leaves nothing running."""

from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from django.conf import settings as django_settings

from bench import measuring
from bench.measuring import Outcome, measure, stolen_since
from bench.scenario import Figure, Measure, Scenario, Settings
from tests.bench.broken import PID_FILE
from tests.harness import environment, wait_until

pytestmark = pytest.mark.django_db


def run(name: str, *, runs: int = 2, limit_seconds: float = 60) -> Outcome:
    scenario = Scenario(
        name=name,
        title="",
        measures=(Measure("figure", "1"),),
        run=f"tests.bench.broken.{name}",
        limit_seconds=limit_seconds,
    )
    return measure(scenario, "sqlite", Settings(runs=runs), environment())


def test_runs_are_handed_over() -> None:
    outcome = run("sound")
    assert outcome.samples == [{"figure": Figure(1, 2)}, {"figure": Figure(2, 2)}]
    assert not outcome.error


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("void", "two jobs are missing"),
        ("crashing", "ZeroDivisionError: by nothing"),
        ("short", "only 1 of 2 runs"),
        ("surprising", "no table has a line for: ['other']"),
        ("missing", "ImportError"),
    ],
)
def test_what_went_wrong_is_told(name: str, error: str) -> None:
    assert error in run(name).error


def test_what_the_host_took_is_a_share_of_all_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("times", "user idle steal")
    monkeypatch.setattr(psutil, "cpu_times", lambda: times(130, 130, 40))
    assert stolen_since(times(100, 100, 0)) == 40
    monkeypatch.setattr(psutil, "cpu_times", lambda: (150, 150))  # a system that does not tell
    assert stolen_since((100, 100)) == 0


def test_scenario_that_takes_too_long_is_ended_with_all_it_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "SETUP_SECONDS", 0)
    outcome = run("endless", limit_seconds=2.5)
    assert "not done within 5 seconds" in outcome.error
    assert outcome.samples == [{"figure": Figure(1)}]
    pid = int(Path(django_settings.VAR_DIR, PID_FILE).read_text())
    wait_until(lambda: not psutil.pid_exists(pid), what="its process is gone")
