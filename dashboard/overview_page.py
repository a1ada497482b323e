"""The overview: what is wrong, how much there is of everything, and how it went lately."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from dashboard.pages import live_page, plain_page
from dashboard.queries import history
from dashboard.queries.attention import attention
from dashboard.queries.board import Board
from dashboard.queries.counts import total
from dashboard.queries.first_steps import first_steps
from dashboard.queries.waits import waits_over_time
from dashboard.scope import scope_of
from jobs.models import Lane
from jobs.statuses import Status
from jobs.store.depths import lanes_with_counts
from jobs.store.waits import percentile

TILES = (
    *(Status.PENDING, Status.RUNNING, Status.SCHEDULED, Status.FAILED),
    *(Status.DLQ, Status.DONE, Status.BLOCKED, Status.CANCELLED),
)
"""The statuses in the order of the tiles; the last two only if there are such jobs."""


@require_safe
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """How things are: figures, what is wrong, throughput, tenants, queues and workers.

    `?queue=` narrows it to the charts of one queue.
    """
    scope = scope_of(request)
    if not scope.tenants:
        return plain_page(request, scope, "no_tenant")
    board = Board(scope)
    span = history.RANGES.get(request.GET.get("range", ""), history.RANGES[history.DEFAULT_RANGE])
    if queue := request.GET.get("queue", ""):
        of_queue = {"throughput": lambda: _of_queue(board, span, queue)}
        return live_page(request, scope, "overview", of_queue, board=board, queue=queue)
    regions: dict[str, Callable[[], Mapping[str, Any]]] = {
        "attention": lambda: attention(board)._asdict(),
        "start": lambda: {"steps": first_steps(board)},
        "tiles": lambda: {
            "counts": {status: board.by_status_and_lane[status] for status in TILES},
            "oldest": board.oldest,
        },
        "throughput": lambda: _throughput(board, span),
        "queues": lambda: {"rows": board.lane_rows(), "total": len(board.lanes)},
    }
    if scope.names_tenants:
        regions["tenants"] = lambda: {"rows": board.tenant_rows(), "total": len(scope.ids)}
    if scope.is_operator:
        regions["workers"] = lambda: {"rows": board.worker_rows()}
    return live_page(request, scope, "overview", regions, board=board)


def _throughput(board: Board, span: history.Range) -> Mapping[str, Any]:
    waits = waits_over_time(board.scope, span, board.now)
    return {
        "series": history.series(board.scope, span, board.now, board.oldest, waits),
        "p95": percentile(sum(waits.values(), Counter()), 95),
        "wait": "p95",
        "span": span,
        "ranges": history.RANGES.values(),
    }


def _of_queue(board: Board, span: history.Range, queue: str) -> Mapping[str, Any]:
    """The same of the lanes of one queue, of which no percentiles are kept."""
    named = Lane.objects.filter(tenant__in=board.scope.ids, queue=queue)
    lanes = lanes_with_counts(named)
    oldest = min((lane.oldest for lane in lanes if lane.oldest), default=None)
    return {
        "series": history.series(board.scope, span, board.now, oldest, {}, lanes),
        "wait": "average",
        "span": span,
        "ranges": history.RANGES.values(),
        "lanes": len(lanes),
        "waiting": total([lane.waiting for lane in lanes]),
        "running": sum(lane.running for lane in lanes),
    }
