"""The rows of the page of queues: each lane with its limits, its last hour and its workers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from django.core.paginator import Page, Paginator
from django.db.models import Q

from dashboard.queries import counts, history
from dashboard.queries.counts import Count
from dashboard.queries.history import Ended
from dashboard.queries.rows import PAGE
from dashboard.queries.unserved import unserved
from dashboard.scope import PageScope
from jobs.models import Lane, Line, Worker
from jobs.remote import PREFIX
from jobs.store.clock import now
from jobs.store.depths import CountedLane, lanes_with_counts
from jobs.worker_states import live_workers

LATELY = timedelta(minutes=5)
SPARK_STEP, SPARK_BARS = timedelta(minutes=2), 30
"""The last hour, so finely."""


class QueueRow(NamedTuple):
    """A queue of a tenant. `lately` is what ended in the last five minutes; `lacks` says for want
    of which workers some of its jobs wait."""

    lane: CountedLane
    slug: str
    state: str
    waiting: Count
    lately: Ended
    workers: int
    lacks: Sequence[str]

    @property
    def is_unserved(self) -> bool:
        """Whether jobs wait in it for want of a worker."""
        is_open = self.state == "active" and bool(self.waiting)
        return is_open and (not self.workers or bool(self.lacks))

    @property
    def is_at_limit(self) -> bool:
        """Whether as many of its jobs run as may."""
        most = self.lane.max_running
        return most is not None and self.lane.running >= most


class Named(NamedTuple):
    """A queue of a tenant by its names alone."""

    slug: str
    queue: str
    pk: int
    state: str


_NAMED = ("pk", "tenant_id", "queue", "is_paused")
STATES: Mapping[str, Callable[[QueueRow], bool]] = {
    "active": lambda row: row.state == "active",
    "paused": lambda row: row.state == "paused",
    "waiting": lambda row: bool(row.waiting),
    "at limit": lambda row: row.is_at_limit,
    "no worker": lambda row: row.is_unserved,
}
"""What the list can be narrowed to."""
KNOWN_STATES = {"", "active", "paused"}
NAMES: Mapping[str, Callable[[Named], Any]] = {
    "tenant": lambda named: (named.slug, named.queue),
    "queue": lambda named: (named.queue, named.slug),
}
"""The states and orders that are known before anything is counted."""
SORTS: Mapping[str, Callable[[QueueRow], Any]] = {
    "tenant": lambda row: row.slug,
    "queue": lambda row: row.lane.queue,
    "waiting": lambda row: -row.waiting.value,
    "oldest": lambda row: -_age(row).total_seconds(),
    "running": lambda row: -row.lane.running,
    "done": lambda row: -row.lately.done,
    "errors": lambda row: -(row.lately.error_rate or 0),
    "workers": lambda row: 0 if row.lacks else row.workers,
}
"""Its orders: names rise, figures fall, and where workers lack comes first."""


@dataclass(frozen=True)
class Asked:
    """What of the queues is asked for, in which order, and which page of it."""

    name: str = ""
    state: str = ""
    sort: str = "tenant"
    page: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Asked":
        """What a URL asks for; a word that does not exist stands for none."""
        state, sort = query.get("state", ""), query.get("sort", "")
        return cls(
            query.get("name", "").strip(),
            state if state in STATES else "",
            sort if sort in SORTS else "tenant",
            query.get("page", ""),
        )

    def __bool__(self) -> bool:
        return bool(self.name or self.state)

    @property
    def is_of_names(self) -> bool:
        """Whether it is known before anything is counted which queues are shown."""
        return self.sort in NAMES and self.state in KNOWN_STATES

    def names(self, named: Named) -> bool:
        """Whether a queue of this name, and as far as that is known in this state, is asked for."""
        is_named = self.name.lower() in f"{named.slug}/{named.queue}".lower()
        return is_named and (self.state not in KNOWN_STATES - {""} or named.state == self.state)


def listed(scope: PageScope, asked: Asked) -> dict[str, Any]:
    """A page of the queues that are asked for, each with its last hour, and the number of all.

    Where their names decide, no others than those that are shown are counted.
    """
    known = _known(scope)
    found = sorted(filter(asked.names, known), key=NAMES["tenant"])
    if asked.is_of_names:
        page = _page(sorted(found, key=NAMES[asked.sort]), asked)
        shown = _rows(scope, list(page))
    else:
        matching = [row for row in _rows(scope, found) if _is_in(asked.state, row)]
        page = _page(sorted(matching, key=SORTS[asked.sort]), asked)
        shown = list(page)
    shown_ids = [row.lane.pk for row in shown]
    hour = history.sparks(shown_ids, now(), step=SPARK_STEP, bars=SPARK_BARS)
    return {
        "rows": [(row, hour[row.lane.pk]) for row in shown],
        **_without_workers([row.lane for row in shown if not row.workers]),
        "page": page,
        "total": len(known),
    }


def _page(rows: Sequence[Any], asked: Asked) -> Page[Any]:
    return Paginator(rows, PAGE).get_page(asked.page)


def _without_workers(lanes: Collection[CountedLane]) -> dict[str, list[str]]:
    """The queues of these lanes: those that workers of ours could serve, and the others, which hold
    remote tasks alone."""
    lines = Line.objects.filter(lane_id__in=[lane.pk for lane in lanes])
    of_ours = ~Q(task__startswith=PREFIX)
    remote = set(lines.exclude(of_ours).values_list("lane_id", flat=True).distinct())
    remote -= set(lines.filter(of_ours).values_list("lane_id", flat=True).distinct())
    return {
        "unserved": sorted({lane.queue for lane in lanes if lane.pk not in remote}),
        "remote": sorted({lane.queue for lane in lanes if lane.pk in remote}),
    }


def _is_in(state: str, row: QueueRow) -> bool:
    return not state or STATES[state](row)


def _known(scope: PageScope) -> list[Named]:
    active = {tenant.pk for tenant in scope.shown if tenant.is_active}
    lanes = Lane.objects.filter(tenant__in=scope.ids).order_by()
    return [
        Named(
            slug=scope.slugs[tenant_id],
            queue=queue,
            pk=pk,
            state=_state(is_active=tenant_id in active, is_paused=is_paused),
        )
        for pk, tenant_id, queue, is_paused in lanes.values_list(*_NAMED)
    ]


def _rows(scope: PageScope, named: Sequence[Named]) -> list[QueueRow]:
    """The rows of these queues, in their order."""
    counted = lanes_with_counts(Lane.objects.filter(pk__in=[one.pk for one in named]))
    lanes = {lane.pk: lane for lane in counted}
    lately = history.ended_per_lane(scope.ids, now() - LATELY)
    workers = list(live_workers())
    serving = _serving(workers)
    is_open = {one.pk for one in named if one.state == "active"}
    lacks = _lacks([lane for pk, lane in lanes.items() if pk in is_open], workers)
    return [
        QueueRow(
            lane=lane,
            slug=one.slug,
            state=one.state,
            waiting=counts.total([lane.waiting]),
            lately=lately.get(lane.pk, Ended()),
            workers=sum(serving[of] for of in _served_as(lane)),
            lacks=lacks.get(lane.pk, ()),
        )
        for one in named
        if (lane := lanes.get(one.pk))
    ]


def _state(*, is_active: bool, is_paused: bool) -> str:
    if not is_active:
        return "suspended"
    return "paused" if is_paused else "active"


def _lacks(
    lanes: Collection[CountedLane], workers: Collection[Worker]
) -> Mapping[int, Sequence[str]]:
    """What jobs of these lanes wait for that none of the workers is, as the overview says it."""
    lacks: dict[int, list[str]] = defaultdict(list)
    for one in unserved(sorted(lanes, key=lambda lane: -lane.waiting), workers, now()):
        if one.gate.text not in lacks[one.lane.pk]:
            lacks[one.lane.pk].append(one.gate.text)
    return lacks


def _serving(workers: Iterable[Worker]) -> Counter[tuple[int | None, str | None]]:
    """How many workers there are by tenant (None: of all) and by queue (None: every queue)."""
    return Counter((one.tenant_id, of) for one in workers for of in set(one.queues) or {None})


def _served_as(lane: CountedLane) -> list[tuple[int | None, str | None]]:
    return [(tenant, queue) for tenant in (None, lane.tenant_id) for queue in (None, lane.queue)]


def _age(row: QueueRow) -> timedelta:
    oldest = row.lane.oldest
    return row.lane.now - oldest if oldest else timedelta(0)
