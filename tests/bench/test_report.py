"""The table and the JSON say what was measured, and whether it is enough."""

import json

from bench.measuring import Outcome
from bench.report import as_json, table
from bench.scenario import Figure, Measure, Sample, Scenario, Target

SPEED = Measure("speed", "jobs/s", (Target("must", 0.5, is_ratio=True), Target("aim", 200)))
WAIT = Measure("wait", "ms", (Target("must", 3, is_most=True), Target("aim", 1, is_most=True)))
SCENARIO = Scenario(name="some", title="Something", measures=(SPEED, WAIT), run="nowhere")


def outcome(*samples: Sample, error: str = "") -> Outcome:
    return Outcome(SCENARIO, "postgresql", list(samples), error)


def lines(*samples: Sample, error: str = "") -> dict[str, str]:
    rows = table([outcome(*samples, error=error)]).splitlines()
    return {row.split()[0]: row for row in rows if row.startswith("  ")}


def test_line_has_median_range_and_ratio_to_the_floor_beside() -> None:
    row = lines(
        {"speed": Figure(100, 400)}, {"speed": Figure(300, 300)}, {"speed": Figure(120, 200)}
    )["speed"]
    assert row.split()[2:7] == ["120", "100", "300", "0.60", "0.25-1.00"]


def test_ratio_is_of_the_floor_of_the_same_run() -> None:
    """A machine that was slow for a while was slow for both."""
    row = lines({"speed": Figure(100, 200)}, {"speed": Figure(10, 20)})["speed"]
    assert "0.50-0.50" in row


def test_lower_and_upper_bounds_are_judged() -> None:
    good = lines({"speed": Figure(300, 400), "wait": Figure(0.5)})
    assert good["speed"].split()[7:] == ["≥", "0.50x", "met", "≥", "200", "met"]
    assert good["wait"].split()[5:] == ["≤", "3", "met", "≤", "1", "met"]


def test_targets_that_are_missed_are_named() -> None:
    bad = lines({"speed": Figure(199, 400), "wait": Figure(3.01)})
    assert bad["speed"].count("NOT MET") == 2
    assert bad["wait"].count("NOT MET") == 2


def test_target_is_met_at_its_bound() -> None:
    exact = lines({"speed": Figure(200, 400), "wait": Figure(1)})
    assert "NOT MET" not in exact["speed"] + exact["wait"]


def test_error_is_shown_beside_what_was_measured() -> None:
    text = table([outcome({"speed": Figure(100, 400)}, error="two jobs are missing")])
    assert "ERROR: two jobs are missing" in text
    assert "0.25" in text


def test_figures_of_a_busy_machine_are_marked() -> None:
    calm, noisy = outcome({"wait": Figure(1)}), outcome({"wait": Figure(1)})
    calm.busy, noisy.busy = 3, 42
    assert "NOISY" not in table([calm])
    assert "NOISY: the machine was 42 % busy" in table([noisy])


def test_figures_of_a_machine_whose_host_is_busy_are_marked() -> None:
    calm, noisy = outcome({"wait": Figure(1)}), outcome({"wait": Figure(1)})
    calm.stolen, noisy.stolen = 1, 42
    assert "NOISY" not in table([calm])
    assert "NOISY: the host took 42 % of the processors" in table([noisy])


def test_json_has_every_run() -> None:
    found = json.loads(json.dumps(as_json([outcome({"speed": Figure(100, 400)})], {"runs": 1})))
    (scenario,) = found["scenarios"]
    (measure,) = scenario["measures"]
    assert (measure["runs"], measure["floors"]) == ([100], [400])
    assert measure["ratio"] == {"median": 0.25, "least": 0.25, "most": 0.25}
    assert [target["is_met"] for target in measure["targets"]] == [False, False]
    assert found["machine"]["cores"] >= 1
