"""What somebody new does first, and how far that is already, told by the data itself."""

from typing import NamedTuple

from dashboard.queries.board import Board
from jobs.models import ApiKey
from jobs.statuses import Status
from jobs.store.minutes import total


class FirstStep(NamedTuple):
    """One of the first steps: its name in the templates, and whether it was taken."""

    name: str
    is_done: bool


def first_steps(board: Board) -> list[FirstStep]:
    """The first steps in their order; empty once all were taken."""
    ids = board.scope.ids
    is_done = bool(board.by_status[Status.DONE]) or total(("done",), ids) != (0,)
    steps = [
        FirstStep("worker", is_done or bool(board.workers)),
        FirstStep("key", ApiKey.objects.filter(tenant_id__in=ids).exists()),
        FirstStep("job", bool(board.lanes)),
        FirstStep("done", is_done),
    ]
    return [] if all(step.is_done for step in steps) else steps
