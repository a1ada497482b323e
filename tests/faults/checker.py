"""The history checker: decides what went wrong in a run, in linear time but for sorting.

It trusts the store's log of moves for when leases began and ended, the workers for what code ran,
the clients for what was accepted, and the database's last state for nothing that these deny.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from jobs.statuses import Reason, Status
from tests.faults.history import SCOPES, Event, History, Limit, Move, Run

TERMINAL = frozenset({Status.DONE, Status.DLQ, Status.CANCELLED})
SLACK_SECONDS = 0.002
"""SQLite's times have milliseconds."""


class Wrong(StrEnum):
    """What can be wrong with a run."""

    LOST = "lost"
    UNFINISHED = "unfinished"
    DOUBLED = "doubled"
    OVERLAPPING = "overlapping"
    OVER_LIMIT = "over the limit"
    OVER_RATE = "over the start rate"
    FENCE = "fence"
    EARLY = "early"
    AFTER_PAUSE = "after a pause"
    UNBALANCED = "unbalanced"
    WRONG_END = "wrong end"
    UNFOUNDED = "unfounded"


class Violation(NamedTuple):
    """One thing that must not be, and whom it befell."""

    wrong: Wrong
    whom: str
    detail: str

    def __str__(self) -> str:
        return f"{self.wrong}: {self.whom}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, and how often what is allowed happened."""

    violations: Sequence[Violation]
    facts: Counter[str]


def check(events: Iterable[Event], *, max_lost: int = 3) -> Verdict:
    """Judge a history. `max_lost` is after how many losses a job is to be dead."""
    history = History.of(events)
    checker = _Checker(history, max_lost)
    judges: list[Callable[[], Iterator[Violation]]] = [
        checker.submissions, checker.leases, checker.runs, checker.ends, checker.limits,
        checker.rates, checker.pauses, checker.balance,
    ]  # fmt: skip
    violations = [violation for judge in judges for violation in judge()]
    return Verdict(violations, checker.facts)


class _Checker:
    def __init__(self, history: History, max_lost: int) -> None:
        self._history = history
        self._max_lost = max_lost
        self._by_job = history.moves_by_job()
        self.facts: Counter[str] = Counter()

    def submissions(self) -> Iterator[Violation]:
        """What was accepted is there, once."""
        stored = defaultdict(set)
        for job, row in self._history.rows.items():
            stored[row["key"]].add(job)
        for key, submission in self._history.submissions.items():
            jobs = submission.jobs | stored[key]
            if len(jobs) > 1:
                yield Violation(Wrong.DOUBLED, key, f"one key has the jobs {sorted(jobs)}")
            for job in submission.jobs - stored[key]:
                yield Violation(Wrong.LOST, job, "it was accepted and is not in the database")
            self.facts["submissions with an answer"] += submission.is_accepted
            self.facts["submissions without one"] += not submission.is_accepted
        for key in stored.keys() - self._history.submissions.keys():
            yield Violation(Wrong.UNFOUNDED, str(key), "nobody submitted what is in the database")

    def leases(self) -> Iterator[Violation]:
        """One lease at a time, under rising fences, not before its time; the end is the end."""
        due = {
            job: submission.due
            for submission in self._history.submissions.values()
            for job in submission.jobs
        }
        for job, moves in self._by_job.items():
            yield from _walk(job, moves)
            for move in moves:
                earliest = max(move.run_at, due.get(job, 0)) - SLACK_SECONDS
                if move.is_grant and move.at < earliest:
                    early = f"granted {earliest - move.at:.3f} s before its time"
                    yield Violation(Wrong.EARLY, job, early)

    def runs(self) -> Iterator[Violation]:
        """Code runs under a lease, once per lease; DONE is recorded of code that returned."""
        granted = {(m.job, m.fence) for m in self._history.moves if m.is_grant}
        ended = {(m.job, m.fence): m for m in self._history.moves if m.is_end}
        for attempt in [*self._history.unbegun, *(self._history.runs.keys() - granted)]:
            yield Violation(Wrong.UNFOUNDED, attempt[0], f"it ran without a lease {attempt[1]}")
        for (job, fence), run in self._history.runs.items():
            if run.times > 1:
                yield Violation(Wrong.DOUBLED, job, f"began {run.times} times under fence {fence}")
            self._explain(run, ended.get((job, fence)))
        for attempt, end in ended.items():
            run = self._history.runs.get(attempt)
            if end.target == Status.DONE and not _returned_before(run, end):
                yield Violation(Wrong.UNFOUNDED, end.job, "recorded as done before it returned")

    def _explain(self, run: Run, end: Move | None) -> None:
        """Count what at-least-once allows."""
        self.facts["runs"] += 1
        if run.ended is None:
            self.facts["runs that were killed"] += 1
        elif end and run.ended > end.at + SLACK_SECONDS:
            self.facts["runs that went on after their lease was lost"] += 1
        if end and run.how == "returned" and end.target != Status.DONE:
            self.facts["runs that returned and were not recorded, as their lease was lost"] += 1

    def ends(self) -> Iterator[Violation]:
        """Every job ended, as it had to or as its losses explain."""
        expected = {
            job: submission.expect
            for submission in self._history.submissions.values()
            for job in submission.jobs
        }
        for job, row in self._history.rows.items():
            moves = self._by_job.get(job, [])
            if moves and moves[-1].target != row["status"]:
                differs = f"the row says {row['status']}, the log {moves[-1].target}"
                yield Violation(Wrong.UNBALANCED, job, differs)
            if row["status"] not in TERMINAL:
                yield Violation(Wrong.UNFINISHED, job, f"it is {row['status']} in the end")
            elif problem := self._problem_of_end(row, moves, expected.get(job, "any")):
                yield Violation(Wrong.WRONG_END, job, problem)

    def _problem_of_end(self, row: Event, moves: Sequence[Move], expect: str) -> str:
        charged = sum(move.is_end and move.target != Status.PENDING for move in moves)
        losses = sum(move.lost for move in moves)
        self.facts["leases that were lost"] += losses
        self.facts["leases that were given back"] += sum(m.is_end for m in moves) - charged
        if charged > row["max_retries"] + 1:
            return f"{charged} attempts, and {row['max_retries']} retries were allowed"
        end = f"{row['status']} {row['reason']}".strip()
        justified = {
            f"{Status.DLQ} {Reason.POISON}": losses == self._max_lost,
            f"{Status.DLQ} {Reason.RETRIES_EXHAUSTED}": charged == row["max_retries"] + 1,
        }
        if not justified.get(end, True):
            return f"{end} after {charged} attempts, {losses} of them lost"
        if expect in {"any", end}:
            return ""
        if end in justified and losses:
            self.facts["jobs that died of their losses"] += 1
            return ""
        return f"it had to become {expect} and became {end}"

    def limits(self) -> Iterator[Violation]:
        """At no grant were there more leases than a limit in force allowed."""
        for at, scope in enumerate(SCOPES):
            running: Counter[str] = Counter()
            for move in self._history.moves:
                name = (move.tenant, move.lane, move.task)[at]
                if move.is_end:
                    running[name] -= 1
                elif move.is_grant:
                    running[name] += 1
                    most = _most_running(self._history.limits.get((scope, name), ()), move.at)
                    if most is not None and running[name] > most:
                        over = f"{running[name]} ran at once at {move.at:.3f}, {most} may"
                        yield Violation(Wrong.OVER_LIMIT, f"{scope} {name}", over)

    def rates(self) -> Iterator[Violation]:
        """In no window were there more starts than burst + rate x its length.

        A lease that was given back unspent was no start.
        """
        returned = {(m.job, m.fence) for m in self._history.moves if m.is_end and _is_return(m)}
        for (scope, name), limits in self._history.limits.items():
            starts = [
                move.at
                for move in self._history.moves
                if move.is_grant
                and name == (move.tenant, move.lane, move.task)[SCOPES.index(scope)]
                and (move.job, move.fence) not in returned
            ]
            for limit, until in zip(limits, [n.asked for n in limits[1:]] + [1e18], strict=True):
                if limit.rate is not None:
                    inside = [at for at in starts if limit.at <= at < until]
                    yield from _too_many(inside, limit, f"{scope} {name}")

    def pauses(self) -> Iterator[Violation]:
        """No lease was granted between the answer to a pause and the next resume.

        Code may begin a moment later that was claimed before the pause: that is counted.
        """
        lane_of = {}
        for move in self._history.moves:
            if move.is_grant:
                lane_of[move.job, move.fence] = move.lane
                if since := self._paused_since(move.lane, move.at):
                    late = f"granted {move.at - since:.3f} s after the pause of {move.lane}"
                    yield Violation(Wrong.AFTER_PAUSE, move.job, late)
        for attempt, run in self._history.runs.items():
            if attempt in lane_of and self._paused_since(lane_of[attempt], run.began):
                self.facts["runs that began in a pause, claimed before it"] += 1

    def _paused_since(self, lane: str, at: float) -> float | None:
        changes = self._history.pauses.get(lane, [])
        index = bisect_right(changes, (at - SLACK_SECONDS, "z"))
        return changes[index - 1][0] if index and changes[index - 1][1] == "pause" else None

    def balance(self) -> Iterator[Violation]:
        """What the database counted is what it has."""
        statuses = {"done": Status.DONE, "dead": Status.DLQ, "cancelled": Status.CANCELLED}
        have: dict[str, Counter[str]] = defaultdict(Counter)
        for row in self._history.rows.values():
            have[row["tenant"]][row["status"]] += 1
            self.facts[f"jobs {row['status']}"] += 1
        for tenant, counted in self._history.counted.items():
            for name, status in statuses.items():
                if counted[name] != have[tenant][status]:
                    differs = f"{counted[name]} counted as {name}, {have[tenant][status]} are"
                    yield Violation(Wrong.UNBALANCED, tenant, differs)


def _walk(job: str, moves: Sequence[Move]) -> Iterator[Violation]:
    status, fence = moves[0].source, 0
    for move in moves:
        if status in TERMINAL:
            again = f"it was {status} and became {move.target} under fence {move.fence}"
            yield Violation(Wrong.DOUBLED, job, again)
        elif move.is_grant and status == Status.RUNNING:
            both = f"leases {fence} and {move.fence} were live together"
            yield Violation(Wrong.OVERLAPPING, job, both)
        elif move.source != status:
            gap = f"it was {status}, and {move.source} when it became {move.target}"
            yield Violation(Wrong.UNBALANCED, job, gap)
        if move.is_grant and move.fence <= fence:
            yield Violation(Wrong.FENCE, job, f"fence {move.fence} came after {fence}")
        if move.is_end and move.fence != fence:
            yield Violation(Wrong.FENCE, job, f"fence {move.fence} ended the lease {fence}")
        status, fence = move.target, move.fence


def _returned_before(run: Run | None, end: Move) -> bool:
    if run is None or run.ended is None or run.how != "returned":
        return False
    return run.ended <= end.at + SLACK_SECONDS


def _is_return(move: Move) -> bool:
    return move.target == Status.PENDING


def _most_running(limits: Sequence[Limit], at: float) -> int | None:
    """The most that a limit which may be in force at this time allows; None for no limit."""
    answered = [limit for limit in limits if limit.at <= at]
    pending = [limit for limit in limits if limit.asked <= at < limit.at]
    allowed = [limit.max_running for limit in (*answered[-1:], *pending)]
    known = [most for most in allowed if most is not None]
    return max(known) if answered and len(known) == len(allowed) else None


def _too_many(starts: Sequence[float], limit: Limit, whom: str) -> Iterator[Violation]:
    """Every window at once: of all windows that end here, the worst began where this was least."""
    assert limit.rate is not None
    least = float("inf")
    for number, at in enumerate(starts):
        level = number - limit.rate * at
        least = min(least, level)
        excess = level - least + 1 - limit.burst - limit.rate * SLACK_SECONDS
        if excess > 0:
            paced = f"{limit.rate:g}/s and a burst of {limit.burst:g}"
            over = f"{excess:.2f} starts too many for {paced} until {at:.3f}"
            yield Violation(Wrong.OVER_RATE, whom, over)
