"""What was found, as a table for people and as JSON for programs."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import django
import psycopg

from bench.databases import ROOT
from bench.figures import spread
from bench.measuring import Outcome
from bench.scenario import Figure, Measure, Target

BUSY_PERCENT = 10
"""Where the machine is busier than this before a scenario begins, the table says so."""
STOLEN_PERCENT = 3
"""And where its host, which has other guests, has taken more than this of it meanwhile."""
HEADINGS = ("figure", "unit", "median", "min", "max", "x floor", "min-max", "must", "", "aim", "")


def as_json(outcomes: Sequence[Outcome], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything: the machine, the settings, each run's figures, the judgement of each."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": settings,
        "scenarios": [_scenario_as_json(outcome) for outcome in outcomes],
    }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "psycopg": psycopg.__version__,
        "commit": commit.stdout.strip() or None,
        "load": os.getloadavg(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            names = [line for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def _scenario_as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.scenario.name,
        "title": outcome.scenario.title,
        "database": outcome.database,
        "error": outcome.error,
        "busy_percent_before": outcome.busy,
        "stolen_percent": outcome.stolen,
        "measures": [_measure_as_json(measure, figures) for measure, figures in _measured(outcome)],
    }


def _measure_as_json(measure: Measure, figures: Sequence[Figure]) -> dict[str, Any]:
    ratios = ratios_of(figures)
    return {
        "name": measure.name,
        "unit": measure.unit,
        "runs": [figure.value for figure in figures],
        "floors": [figure.floor for figure in figures],
        "value": vars(spread([figure.value for figure in figures])),
        "ratio": vars(spread(ratios)) if ratios else None,
        "targets": [
            vars(target) | {"is_met": is_met(target, figures)} for target in measure.targets
        ],
    }


def _measured(outcome: Outcome) -> Iterator[tuple[Measure, list[Figure]]]:
    for measure in outcome.scenario.measures:
        figures = [sample[measure.name] for sample in outcome.samples if measure.name in sample]
        if figures:
            yield measure, figures


def ratios_of(figures: Sequence[Figure]) -> list[float]:
    """The ratio of each figure to the floor that was measured beside it."""
    return [figure.value / figure.floor for figure in figures if figure.floor]


def is_met(target: Target, figures: Sequence[Figure]) -> bool:
    """Whether the median reaches the target."""
    values = ratios_of(figures) if target.is_ratio else [figure.value for figure in figures]
    return target.is_met(spread(values).median)


def table(outcomes: Sequence[Outcome]) -> str:
    """The table: a heading per scenario, a line per measure."""
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    cells = [HEADINGS, *(row for row in rows if isinstance(row, tuple))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(HEADINGS, widths), "-" * (sum(widths) + 2 * len(widths))]
    return "\n".join(
        lines + [_line(row, widths) if isinstance(row, tuple) else row for row in rows]
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
    return "  ".join(cells).rstrip()


def _rows(outcome: Outcome) -> Iterator[str | tuple[str, ...]]:
    yield f"\n{outcome.scenario.name} ({outcome.database}): {outcome.scenario.title}"
    for measure, figures in _measured(outcome):
        yield _row(measure, figures)
    if outcome.busy > BUSY_PERCENT:
        yield f"  NOISY: the machine was {outcome.busy:.0f} % busy just before"
    if outcome.stolen > STOLEN_PERCENT:
        yield f"  NOISY: the host took {outcome.stolen:.0f} % of the processors meanwhile"
    if outcome.error:
        yield f"  ERROR: {outcome.error}"


def _row(measure: Measure, figures: Sequence[Figure]) -> tuple[str, ...]:
    value = spread([figure.value for figure in figures])
    ratios = ratios_of(figures)
    ratio = spread(ratios) if ratios else None
    return (
        f"  {measure.name}",
        measure.unit,
        *(_number(x) for x in (value.median, value.least, value.most)),
        f"{ratio.median:.2f}" if ratio else "",
        f"{ratio.least:.2f}-{ratio.most:.2f}" if ratio else "",
        *_judgement("must", measure, figures),
        *_judgement("aim", measure, figures),
    )


def _judgement(level: str, measure: Measure, figures: Sequence[Figure]) -> tuple[str, str]:
    """The target of this level and whether it is met; nothing where there is none."""
    for target in measure.targets:
        if target.level == level:
            sign = "≤" if target.is_most else "≥"
            text = f"{sign} {_number(target.bound)}{'x' if target.is_ratio else ''}"
            return text, "met" if is_met(target, figures) else "NOT MET"
    return "", ""


def _number(value: float) -> str:
    """With as many digits as say something."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
