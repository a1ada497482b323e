"""The checker finds all that can be wrong in broken histories, and nothing in sound ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import Verdict, Wrong, check
from tests.faults.history import Event, read_lines

PENDING_JOB = {"tenant": "a", "lane": "a/q", "task": "t"}


def submit(key: str, job: str, at: float = 0, expect: str = "DONE", due: float = 0) -> list[Event]:
    asked = {"event": "submit", "result": "invoke", "key": key, "tenant": "a", "at": at}
    return [
        {**asked, "expect": expect, "due": due},
        {"event": "submit", "result": "ok", "key": key, "job": job, "at": at},
    ]


def move(seq: float, job: str, fence: int, source: str, target: str, **rest: Any) -> Event:
    """A change of status at the time `seq`, unless told."""
    fields = {"event": "move", "seq": seq, "at": seq, "run_at": 0, "job": job, "fence": fence}
    return {**fields, **PENDING_JOB, "source": source, "target": target, **rest}


def grant(seq: float, job: str, fence: int = 1, **rest: Any) -> Event:
    return move(seq, job, fence, "PENDING", "RUNNING", **rest)


def end(seq: float, job: str, fence: int = 1, target: str = "DONE", **rest: Any) -> Event:
    return move(seq, job, fence, "RUNNING", target, **rest)


def code(job: str, fence: int, began: float, ended: float, how: str = "returned") -> list[Event]:
    attempt = {"job": job, "fence": fence}
    return [
        {"event": "run", "at": began, "pid": 1, **attempt},
        {"event": "ran", "at": ended, "how": how, **attempt},
    ]


def row(job: str, key: str, status: str = "DONE", reason: str = "", retries: int = 3) -> Event:
    about = {"job": job, "key": key, "tenant": "a", "max_retries": retries}
    return {"event": "job", "status": status, "reason": reason, **about}


def counted(**figures: int) -> Event:
    return {"event": "counted", "tenant": "a", "done": 0, "dead": 0, "cancelled": 0, **figures}


def a_job(job: str = "j", at: float = 1) -> list[Event]:
    """A job without a history: claimed, run for a second, done."""
    return [
        *submit(f"key of {job}", job),
        grant(at, job),
        *code(job, 1, at + 0.1, at + 0.9),
        end(at + 1, job),
        row(job, f"key of {job}"),
    ]


def a_lost_lease(at: float = 1) -> list[Event]:
    """A worker that was frozen, and finished late what another had taken over."""
    return [
        *submit("k", "j"),
        grant(at, "j", 1),
        *code("j", 1, at + 0.1, at + 9),
        end(at + 5, "j", 1, "FAILED", lost=True),
        move(at + 6, "j", 1, "FAILED", "PENDING"),
        grant(at + 7, "j", 2),
        *code("j", 2, at + 7.1, at + 7.5),
        end(at + 8, "j", 2),
        row("j", "k"),
    ]


def judge(*parts: Event | list[Event]) -> Verdict:
    events = [event for part in parts for event in (part if isinstance(part, list) else [part])]
    return check(events)


def wrongs(*parts: Event | list[Event]) -> set[str]:
    return {violation.wrong for violation in judge(*parts).violations}


def without(events: list[Event], **fields: Any) -> list[Event]:
    """The events but those that have all of these values."""
    return [e for e in events if any(e.get(name) != value for name, value in fields.items())]


def limit(at: float, **what: Any) -> Event:
    return {"event": "limit", "scope": "tenant", "name": "a", "at": at, **what}


def test_a_sound_history_has_nothing_wrong() -> None:
    verdict = judge(a_job("j"), a_job("k", at=1.5), counted(done=2), limit(0, max_running=2))
    assert verdict.violations == []
    assert (verdict.facts["runs"], verdict.facts["jobs DONE"]) == (2, 2)


def test_an_accepted_job_that_is_not_there_is_lost() -> None:
    assert wrongs(without(a_job(), event="job")) == {Wrong.LOST}


def test_a_submission_without_an_answer_may_have_happened_or_not() -> None:
    unanswered = without(a_job(), event="submit", result="ok")
    assert wrongs(unanswered) == set()
    assert wrongs([event for event in unanswered if event["event"] == "submit"]) == set()


def test_a_job_that_nobody_submitted_is_unfounded() -> None:
    assert wrongs(without(a_job(), event="submit")) == {Wrong.UNFOUNDED}


def test_two_jobs_of_one_key_are_doubled() -> None:
    second = [grant(3, "other"), *code("other", 1, 3.1, 3.2), end(4, "other")]
    assert wrongs(a_job(), second, row("other", "key of j")) == {Wrong.DOUBLED}


def test_a_repeated_submission_with_the_same_answer_is_fine() -> None:
    assert wrongs(a_job(), submit("key of j", "j", at=9, due=9)) == set()


def test_a_job_that_has_not_ended_is_unfinished() -> None:
    events = [*submit("k", "j"), grant(1, "j"), row("j", "k", "RUNNING")]
    assert wrongs(events) == {Wrong.UNFINISHED}


def test_a_second_recorded_outcome_is_doubled() -> None:
    again = [grant(5, "j", 2), *code("j", 2, 5.1, 5.2), end(6, "j", 2)]
    assert Wrong.DOUBLED in wrongs(a_job(), again)


def test_code_that_began_twice_under_one_fence_is_doubled() -> None:
    assert wrongs(a_job(), code("j", 1, 1.2, 1.3)) == {Wrong.DOUBLED}


def test_two_live_leases_of_a_job_overlap() -> None:
    second = [move(1.5, "j", 2, "RUNNING", "RUNNING"), *code("j", 2, 1.6, 1.7), end(2, "j", 2)]
    assert wrongs(without(a_job(), event="move", target="DONE"), second) == {Wrong.OVERLAPPING}


def test_a_run_that_goes_on_after_its_lease_was_lost_is_counted_and_allowed() -> None:
    verdict = judge(a_lost_lease())
    assert verdict.violations == []
    assert verdict.facts["runs that went on after their lease was lost"] == 1
    assert (
        verdict.facts["runs that returned and were not recorded, as their lease was lost"],
        verdict.facts["leases that were lost"],
    ) == (1, 1)


def test_a_fence_that_is_used_again_or_falls_is_found() -> None:
    events = [
        *submit("k", "j"), grant(1, "j", 5), end(2, "j", 5, "PENDING"),
        grant(3, "j", 5), *code("j", 5, 3.1, 3.2), end(4, "j", 5), row("j", "k"),
    ]  # fmt: skip
    assert wrongs(events) == {Wrong.FENCE}
    assert wrongs(events[:4], grant(3, "j", 4), code("j", 4, 3.1, 3.2), end(4, "j", 4)) >= {
        Wrong.FENCE
    }


def test_an_outcome_of_another_fence_than_the_leases_is_found() -> None:
    events = without(a_lost_lease(), event="move", seq=9)
    assert Wrong.FENCE in wrongs(events, end(9, "j", 1))


def test_a_grant_before_run_at_is_early() -> None:
    due = [event | {"run_at": 1.5} if event["event"] == "move" else event for event in a_job()]
    assert wrongs(due) == {Wrong.EARLY}


def test_a_grant_before_the_time_that_the_client_asked_for_is_early() -> None:
    delayed = submit("key of j", "j", due=1.5)
    assert wrongs(delayed, without(a_job(), event="submit")) == {Wrong.EARLY}


def test_more_leases_at_once_than_the_limit_is_over_it() -> None:
    two = [*a_job("j", at=1), *a_job("k", at=1.5)]
    assert wrongs(two, limit(0, max_running=1)) == {Wrong.OVER_LIMIT}
    assert wrongs(two, limit(0, max_running=2)) == set()
    assert wrongs(two, {**limit(0, max_running=1), "scope": "lane", "name": "a/q"}) == {
        Wrong.OVER_LIMIT
    }
    assert wrongs(two, {**limit(0, max_running=1), "scope": "task", "name": "t"}) == {
        Wrong.OVER_LIMIT
    }


def test_a_lowered_limit_stops_no_running_job_and_counts_from_its_answer_on() -> None:
    two = [*a_job("j", at=1), *a_job("k", at=1.5)]
    assert wrongs(two, limit(0, max_running=2), limit(1.8, max_running=1)) == set()
    assert wrongs(two, limit(0, max_running=2), limit(1.6, asked=1.4, max_running=1)) == set()
    assert wrongs(two, limit(0, max_running=2), limit(1.4, max_running=1)) == {Wrong.OVER_LIMIT}
    assert wrongs(two, limit(0, max_running=1), limit(1.4, max_running=None)) == set()


def test_any_window_with_too_many_starts_is_over_the_rate() -> None:
    starts = [event for number in range(4) for event in a_job(f"j{number}", at=1 + number / 10)]
    assert wrongs(starts, limit(0, rate=1, burst=3)) == {Wrong.OVER_RATE}
    assert wrongs(starts, limit(0, rate=10, burst=1)) == set()
    assert wrongs(starts, limit(0, rate=9, burst=1)) == {Wrong.OVER_RATE}
    assert wrongs(starts, limit(0, rate=1, burst=4)) == set()


def test_a_lease_that_was_given_back_unspent_is_no_start() -> None:
    returned = [grant(0.5, "j", 1), end(0.6, "j", 1, "PENDING")]
    ran = [grant(0.7, "j", 2), *code("j", 2, 0.8, 0.9), end(1, "j", 2)]
    events = [*submit("k", "j"), *returned, *ran, row("j", "k")]
    assert wrongs(events, limit(0, rate=0.1, burst=1)) == set()


def test_a_grant_between_the_answer_to_a_pause_and_the_resume_is_after_a_pause() -> None:
    paused, resumed = ({"event": what, "lane": "a/q"} for what in ("pause", "resume"))
    assert wrongs(a_job(), {**paused, "at": 0.5}) == {Wrong.AFTER_PAUSE}
    assert wrongs(a_job(), {**paused, "at": 0.5}, {**resumed, "at": 0.8}) == set()
    assert wrongs(a_job(), {**paused, "at": 1.5}) == set()


def test_code_that_begins_in_a_pause_under_an_earlier_lease_is_counted() -> None:
    verdict = judge(a_job(), {"event": "pause", "lane": "a/q", "at": 1.05})
    assert verdict.violations == []
    assert verdict.facts["runs that began in a pause, claimed before it"] == 1


def test_counts_that_differ_from_the_rows_are_unbalanced() -> None:
    assert wrongs(a_job(), counted(done=2)) == {Wrong.UNBALANCED}
    assert wrongs(a_job(), counted(done=1, dead=1)) == {Wrong.UNBALANCED}


def test_a_row_that_differs_from_the_log_or_a_gap_in_the_log_is_unbalanced() -> None:
    dead = [*without(a_job(), event="job"), row("j", "key of j", "CANCELLED")]
    assert Wrong.UNBALANCED in wrongs(dead)
    gap = [grant(0.3, "j", 0), move(0.5, "j", 0, "FAILED", "PENDING")]
    assert Wrong.UNBALANCED in wrongs(gap, a_job())


@pytest.mark.parametrize("reason", ["not_retryable", "poison", "retries_exhausted"])
def test_a_dead_letter_that_nothing_explains_is_a_wrong_end(reason: str) -> None:
    dead = [
        *submit("k", "j"), grant(1, "j"), *code("j", 1, 1.1, 1.2, "raised"),
        end(2, "j", 1, "DLQ"), row("j", "k", "DLQ", reason),
    ]  # fmt: skip
    assert wrongs(dead) == {Wrong.WRONG_END}


def test_a_job_that_had_to_die_and_is_done_is_a_wrong_end() -> None:
    events = without(a_job(), event="submit")
    assert wrongs(submit("key of j", "j", expect="DLQ not_retryable"), events) == {Wrong.WRONG_END}


def test_a_job_that_died_of_its_losses_is_counted_and_allowed() -> None:
    losses = [
        event
        for n in (1, 2, 3)
        for event in (
            grant(n, "j", n),
            end(n + 0.2, "j", n, "DLQ" if n == 3 else "FAILED", lost=True),
            *([] if n == 3 else [move(n + 0.4, "j", n, "FAILED", "PENDING")]),
        )
    ]
    verdict = judge(submit("k", "j"), losses, row("j", "k", "DLQ", "poison"))
    assert verdict.violations == []
    assert verdict.facts["jobs that died of their losses"] == 1


def test_more_attempts_than_retries_allow_are_a_wrong_end() -> None:
    events = [*without(a_lost_lease(), event="job"), row("j", "k", retries=0)]
    assert wrongs(events) == {Wrong.WRONG_END}


def test_code_without_a_lease_is_unfounded() -> None:
    assert wrongs(a_job(), code("j", 7, 1, 2)) == {Wrong.UNFOUNDED}
    assert wrongs(a_job(), code("j", 7, 1, 2)[1]) == {Wrong.UNFOUNDED}


def test_done_without_code_that_returned_before_is_unfounded() -> None:
    assert wrongs(without(a_job(), event="ran")) == {Wrong.UNFOUNDED}
    assert wrongs(without(a_job(), event="ran"), code("j", 1, 1, 9)[1]) == {Wrong.UNFOUNDED}
    raised = [event | {"how": "raised"} if event["event"] == "ran" else event for event in a_job()]
    assert wrongs(raised) == {Wrong.UNFOUNDED}


def test_lines_are_read_from_all_files_but_for_a_torn_last_one(tmp_path: Path) -> None:
    events = a_job()
    lines = [json.dumps(event) for event in events]
    (tmp_path / "1").write_text("\n".join(lines[:3]) + "\n")
    (tmp_path / "2").write_text("\n".join(lines[3:]) + '\n{"event": "ru')
    assert list(read_lines(tmp_path)) == events
