"""Scenarios measured one after the other, each in a process that can be ended when time is up."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from bench.databases import ROOT
from bench.scenario import Figure, Sample, Scenario, Settings

SETUP_SECONDS = 60
ENDING_SECONDS = 30
LOOK_SECONDS = 1.0


@dataclass
class Outcome:
    """What a scenario found on one database: a sample per run, or what made them void.

    `busy` is what of the machine was used just before, by others as a rule; `stolen` what the host
    of a virtual machine gave to others meanwhile: percent of all cores.
    """

    scenario: Scenario
    database: str
    samples: list[Sample] = field(default_factory=list)
    error: str = ""
    busy: float = 0
    stolen: float = 0


def measure(
    scenario: Scenario, database: str, settings: Settings, environment: Mapping[str, str]
) -> Outcome:
    """Run the scenario within its time; whatever becomes of it, nothing of it goes on running."""
    busy = psutil.cpu_percent(interval=LOOK_SECONDS)
    before = psutil.cpu_times()
    outcome = _measure(scenario, database, settings, environment)
    outcome.busy, outcome.stolen = busy, stolen_since(before)
    return outcome


def stolen_since(before: Any) -> float:
    """Percent of all cores' time that the host took, since these `psutil.cpu_times`."""
    after = psutil.cpu_times()
    stolen = getattr(after, "steal", 0) - getattr(before, "steal", 0)  # only Linux tells
    return 100 * stolen / max(sum(after) - sum(before), 0.01)


def _measure(
    scenario: Scenario, database: str, settings: Settings, environment: Mapping[str, str]
) -> Outcome:
    command = [sys.executable, "-m", "bench.child", scenario.run, json.dumps(asdict(settings))]
    process = subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, text=True
    )
    limit = SETUP_SECONDS + scenario.seconds(settings)
    try:
        answer, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        answer = _end(process)
        return _outcome(
            scenario, database, settings.runs, answer, f"not done within {limit:.0f} seconds"
        )
    except BaseException:
        _end(process)
        raise
    failure = f"ended with status {process.returncode}" if process.returncode else ""
    return _outcome(scenario, database, settings.runs, answer, failure)


def _end(process: subprocess.Popen[str]) -> str:
    """End the process and all that it started; answers what it had printed."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    for one in family:
        if one.is_running():
            one.kill()
    answer, _ = process.communicate()  # last: what was left may have held the pipe open
    return answer


def _outcome(scenario: Scenario, database: str, runs: int, answer: str, failure: str) -> Outcome:
    outcome = Outcome(scenario, database, error=failure)
    known = {measure.name for measure in scenario.measures}
    for line in answer.splitlines():
        sample = json.loads(line)
        if "error" in sample:
            outcome.error = sample["error"]
        elif unknown := set(sample) - known:
            outcome.error = f"measured what no table has a line for: {sorted(unknown)}"
        else:
            outcome.samples.append({name: Figure(*figure) for name, figure in sample.items()})
    if len(outcome.samples) < runs and not outcome.error:
        outcome.error = f"only {len(outcome.samples)} of {runs} runs were measured"
    return outcome
