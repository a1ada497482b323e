"""What is wrong, as far as somebody should do something about it. Nothing here costs a walk."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from dashboard.queries.board import Board, BusyTenant
from dashboard.queries.counts import Count, total
from dashboard.queries.unserved import Unserved
from jobs.models import Job, Worker
from jobs.statuses import Status
from jobs.worker_states import PRESENT, WorkerState, worker_state

OLD = timedelta(minutes=5)
"""A job that has been ready for so long waits longer than anybody expects."""
LATE = timedelta(seconds=30)
"""So long after its time a job should have been made ready, several times over."""
LOOKED_AT = 1_000


class Attention(NamedTuple):
    """Each part is empty where all is well. `late` is when the most overdue job was due."""

    all_quiet: bool

    dead: Count
    unserved: list[Unserved]
    at_limit: list[BusyTenant]
    paused: list[tuple[Any, Count]]
    old: list[tuple[Any, Count]]
    vanished: list[Worker]
    late: datetime | None


def attention(board: Board) -> Attention:
    """What is wrong with the board's tenants, and for operators with the workers."""
    unserved, at_limit = board.unserved(), board.at_limit()
    all_quiet = _are_all_quiet(board)
    without_worker = {one.lane.pk for one in unserved}
    limited = {row.tenant.pk for row in at_limit}
    unexplained = [
        lane
        for lane in board.open_lanes
        if lane.pk not in without_worker and lane.tenant_id not in limited
    ]
    return Attention(
        all_quiet=all_quiet,
        dead=board.by_status[Status.DLQ],
        unserved=[one for one in unserved if one.is_remote or not all_quiet],
        at_limit=at_limit,
        paused=[_counted(lane) for lane in board.lanes if lane.is_paused and lane.waiting],
        old=[_counted(x) for x in unexplained if x.oldest and x.oldest < board.now - OLD],
        vanished=_vanished(board) if board.scope.is_operator else [],
        late=_late(board),
    )


def _counted(lane: Any) -> tuple[Any, Count]:
    return lane, total([lane.waiting])


def _vanished(board: Board) -> list[Worker]:
    return [one for one in board.workers if worker_state(one, board.now) == WorkerState.STALE]


def _are_all_quiet(board: Board) -> bool:
    """Whether there are workers that the tenants share, and each of those was asked to be quiet."""
    states = [worker_state(one, board.now) for one in board.workers if not one.tenant_id]
    there = {state for state in states if state in PRESENT}
    return there == {WorkerState.QUIET}


def _late(board: Board) -> datetime | None:
    """When the job was due that should have been made ready longest ago, of the first `LOOKED_AT`.

    The words stand in the statement, so that SQLite recognises the index of what is due by time.
    """
    is_timed = RawSQL("status IN ('SCHEDULED', 'FAILED')", (), output_field=BooleanField())
    due = Job.objects.filter(is_timed, run_at__lt=board.now - LATE).order_by("run_at")
    rows = due.values_list("tenant_id", "run_at")[:LOOKED_AT]
    seen = set(board.scope.ids)
    return next((run_at for tenant_id, run_at in rows if tenant_id in seen), None)
