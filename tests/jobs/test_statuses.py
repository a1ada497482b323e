"""The table of moves, read as a whole."""

import pytest

from jobs.statuses import INITIAL, TERMINAL, TRANSITIONS, WAITING, Move, Status


def test_every_move_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Move)


def test_every_status_waits_runs_or_is_terminal() -> None:
    assert WAITING | TERMINAL | {Status.RUNNING} == set(Status)
    assert not WAITING & TERMINAL


def test_every_status_can_be_reached() -> None:
    reached = set(INITIAL)
    while new := {t.target for t in TRANSITIONS.values() if t.sources & reached} - reached:
        reached |= new
    assert reached == set(Status)


def test_only_a_redrive_leaves_a_terminal_status() -> None:
    leaving = {move for move, t in TRANSITIONS.items() if t.sources & TERMINAL}
    assert leaving == {Move.REDRIVE}
    assert TRANSITIONS[Move.REDRIVE].sources == {Status.DLQ}


def test_only_a_claim_starts_a_job() -> None:
    assert [m for m, t in TRANSITIONS.items() if t.target is Status.RUNNING] == [Move.CLAIM]


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        (Status.PENDING, Status.RUNNING, True),
        (Status.RUNNING, Status.PENDING, True),
        (Status.FAILED, Status.PENDING, True),
        (Status.FAILED, Status.RUNNING, False),
        (Status.DONE, Status.PENDING, False),
        (Status.CANCELLED, Status.PENDING, False),
        (Status.PENDING, Status.DONE, False),
    ],
)
def test_move_is_allowed_or_not(source: Status, target: Status, allowed: bool) -> None:
    moves = [m for m, t in TRANSITIONS.items() if source in t.sources and t.target is target]
    assert bool(moves) is allowed
