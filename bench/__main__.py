"""`python -m bench`: what the queue can do on this machine, beside what the database alone can.

Progress goes to standard error, the table to standard output, everything to a JSON file. The exit
status is 1 if a measurement is void, whatever the figures are: targets are printed, not enforced.
"""

import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench import report
from bench.catalogue import SCENARIOS
from bench.databases import ROOT, database
from bench.measuring import Outcome, measure
from bench.scenario import POSTGRESQL, SQLITE, Scenario, Settings, say

DATABASES = (POSTGRESQL, SQLITE)


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for; answers the exit status."""
    asked = parser().parse_args(arguments)
    if asked.list:
        sys.stdout.write("".join(f"{_described(scenario)}\n" for scenario in SCENARIOS))
        return 0
    settings = Settings(
        runs=asked.runs,
        scale=asked.scale,
        minutes=asked.minutes,
        concurrency=asked.concurrency,
        is_long=asked.long,
    )
    outcomes: list[Outcome] = []
    try:
        for outcome in _measured(asked, settings):
            outcomes.append(outcome)
    except KeyboardInterrupt:
        say("\ninterrupted; this was measured until then:")
        status = 130
    else:
        status = 1 if any(outcome.error for outcome in outcomes) else 0
    _tell(outcomes, settings, asked.output)
    return status


def parser() -> ArgumentParser:
    """The options."""
    known = [scenario.name for scenario in SCENARIOS]
    options = ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--list", action="store_true", help="say which scenarios there are")
    options.add_argument("--only", nargs="+", choices=known, metavar="NAME", help="only these")
    options.add_argument("--databases", type=_databases, default=DATABASES, help="comma separated")
    options.add_argument("--runs", type=_count, default=3, help="of each scenario (default: 3)")
    options.add_argument("--scale", type=_amount, default=1.0, help="fraction of the jobs")
    options.add_argument("--long", action="store_true", help="the long and huge ones too")
    options.add_argument("--minutes", type=_amount, default=10.0, help="of the long drain")
    options.add_argument(
        "--concurrency", type=_counts, default=(10,), help="slots to try with two processes: 10,50"
    )
    options.add_argument("--output", type=Path, help="write the JSON to this file too")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _databases(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(DATABASES):
        raise ArgumentTypeError(f"known are {', '.join(DATABASES)}")
    return names


def _described(scenario: Scenario) -> str:
    where = ", ".join(name for name in DATABASES if name in scenario.databases)
    return f"{scenario.name:<14} {scenario.title} ({where}{'; --long' * scenario.is_long})"


def _measured(asked: Namespace, settings: Settings) -> Iterator[Outcome]:
    for kind in asked.databases:
        chosen = [one for one in SCENARIOS if kind in one.databases and _is_wanted(one, asked)]
        if not chosen:
            continue
        with database(kind) as environment:
            for scenario in chosen:
                say(f"{kind}: {scenario.name}: {scenario.title}")
                outcome = measure(scenario, kind, settings, environment)
                if outcome.error:
                    say(f"  ERROR: {outcome.error}")
                yield outcome


def _is_wanted(scenario: Scenario, asked: Namespace) -> bool:
    if asked.only:
        return scenario.name in asked.only
    return asked.long or not scenario.is_long


def _tell(outcomes: Sequence[Outcome], settings: Settings, output: Path | None) -> None:
    if not outcomes:
        return
    found = json.dumps(report.as_json(outcomes, asdict(settings)), indent=1)
    kept = ROOT / "var" / "bench" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"
    for path in filter(None, (kept, output)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    sys.stdout.write(f"{report.table(outcomes)}\n")
    say(f"\nwritten to {kept}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
