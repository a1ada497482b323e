"""The history of a run: what clients, workers and the store did and saw, read from JSON lines.

Each line is an object with `event`, and `at` in seconds since 1970 by the database's clock:

    submit  a client: `result` invoke, ok, fail or unknown, of `key`. invoke has `tenant`, `expect`
            and `due` (not before that time), ok has `job`. unknown: it may have happened
    run     the code of a job began: `job`, `fence`, `pid`
    ran     it ended: `job`, `fence`, `how` (returned or raised)
    move    the store changed a job's status: `seq`, `job`, `tenant`, `lane`, `task`, `fence`,
            `source`, `target`, `run_at`, and `lost` if it counted as a loss
    pause   was answered: `lane`.        resume  was asked for: `lane`
    limit   `scope` (tenant, lane, task), `name`, `max_running`, and `rate` (a second) with `burst`;
            asked for at `asked`, answered at `at`; null: no limit. It replaces the one before
    job     what the database has in the end: `job`, `key`, `tenant`, `status`, `reason`,
            `max_retries`
    counted what the database counted in the end: `tenant`, `done`, `dead`, `cancelled`
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Event = Mapping[str, Any]
SCOPES = ("tenant", "lane", "task")
RUNNING = "RUNNING"


@dataclass(slots=True)
class Submission:
    """All that was done with one idempotency key."""

    tenant: str
    expect: str
    due: float
    is_accepted: bool = False
    jobs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Run:
    """The code of one attempt. A run that was killed has no end."""

    began: float
    times: int = 1
    ended: float | None = None
    how: str = ""


class Move(NamedTuple):
    """A change of status, logged in the transaction that made it; `seq` is in their order."""

    seq: int
    job: str
    tenant: str
    lane: str
    task: str
    fence: int
    source: str
    target: str
    run_at: float
    at: float
    lost: bool = False

    @property
    def is_grant(self) -> bool:
        """A lease was granted."""
        return self.target == RUNNING

    @property
    def is_end(self) -> bool:
        """A lease ended, in whatever way."""
        return self.source == RUNNING and not self.is_grant


class Limit(NamedTuple):
    """A limit, in force at the latest from `at` on, and perhaps from `asked` on."""

    asked: float
    at: float
    max_running: int | None = None
    rate: float | None = None
    burst: float = 0


@dataclass(slots=True)
class History:
    """Everything that is known of a run, by what it is about."""

    submissions: dict[str, Submission] = field(default_factory=dict)
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    unbegun: list[tuple[str, int]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    pauses: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    limits: dict[tuple[str, str], list[Limit]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, Event] = field(default_factory=dict)
    counted: dict[str, Event] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "History":
        """Read all events, in any order."""
        history = cls()
        ends = [event for event in events if history._add(event)]
        for event in ends:
            history._end_run(event)
        history.moves.sort()
        for changes in (*history.pauses.values(), *history.limits.values()):
            changes.sort(key=lambda change: change[0])
        return history

    def moves_by_job(self) -> dict[str, list[Move]]:
        """The moves of each job, in their order."""
        by_job: dict[str, list[Move]] = defaultdict(list)
        for move in self.moves:
            by_job[move.job].append(move)
        return by_job

    def _add(self, event: Event) -> bool:
        """Take note of an event; True for the end of a run, whose beginning may come later."""
        match event["event"]:
            case "submit":
                self._submit(event)
            case "run":
                self._begin_run(event)
            case "ran":
                return True
            case "move":
                self.moves.append(_move(event))
            case "pause" | "resume" as what:
                self.pauses[event["lane"]].append((event["at"], what))
            case "limit":
                self.limits[event["scope"], event["name"]].append(_limit(event))
            case "job":
                self.rows[event["job"]] = event
            case "counted":
                self.counted[event["tenant"]] = event
            case unknown:
                raise ValueError(f"The history has an event {unknown!r}.")
        return False

    def _submit(self, event: Event) -> None:
        submission = self.submissions.get(event["key"])
        if event["result"] == "invoke":
            if submission is None:
                submission = Submission(event["tenant"], event["expect"], event["due"])
                self.submissions[event["key"]] = submission
            submission.due = min(submission.due, event["due"])
        elif event["result"] == "ok":
            if submission is None:
                raise ValueError(f"The key {event['key']} was answered and never sent.")
            submission.is_accepted = True
            submission.jobs.add(event["job"])

    def _begin_run(self, event: Event) -> None:
        attempt = event["job"], event["fence"]
        if attempt in self.runs:
            self.runs[attempt].times += 1
        else:
            self.runs[attempt] = Run(event["at"])

    def _end_run(self, event: Event) -> None:
        run = self.runs.get((event["job"], event["fence"]))
        if run is None:
            self.unbegun.append((event["job"], event["fence"]))
            return
        run.ended, run.how = event["at"], event["how"]


def _move(event: Event) -> Move:
    return Move(**{name: event[name] for name in Move._fields if name in event})


def _limit(event: Event) -> Limit:
    return Limit(
        event.get("asked", event["at"]),
        event["at"],
        event.get("max_running"),
        event.get("rate"),
        event.get("burst", 0),
    )


def read_lines(directory: Path) -> Iterator[Event]:
    """The events in all files of the directory.

    The last line of a process that was killed may be torn: it says nothing.
    """
    for file in sorted(directory.iterdir()):
        lines = file.read_text().split("\n")
        for line in lines[:-1]:
            yield json.loads(line)
