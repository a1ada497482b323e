"""The search for jobs that match a filter: a walk in the order of their ids, bounded at each step.

Jobs are found through an index where there is one for the filter; where there is none, one step
looks at so many of them and says where to go on. So a step is quick, however many jobs there are.
"""

import uuid
from typing import NamedTuple

from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Length

from jobs.filters import Filter
from jobs.job_filters import filtered, finds_by_index
from jobs.lookup import in_status
from jobs.models import Job, Lane, Tenant
from jobs.statuses import UNUSUAL, Status
from jobs.store.clock import now

LOOKED_AT = 10_000
"""Jobs that one step looks at where no index finds those that match."""
MAX_PAGE_BYTES = 8_000_000
_HAVE_INDEX = frozenset({*UNUSUAL, Status.RUNNING})


class Found(NamedTuple):
    """The matching ids of one step, in order, and the id to go on after, None at the end."""

    ids: list[uuid.UUID]
    rest: uuid.UUID | None


class Search:
    """Among the jobs of the tenant (None: of all), for those that match, newest or oldest first."""

    def __init__(
        self, tenant: Tenant | None, wanted: Filter, *, oldest_first: bool = False
    ) -> None:
        self.tenant = tenant
        self.wanted = settled(wanted)
        self.oldest_first = oldest_first
        own = Job.objects.all() if tenant is None else Job.objects.filter(tenant_id=tenant.pk)
        terms = [term for term in self.wanted.terms if term.word != "status"]
        by_index = Filter(tuple(term for term in terms if finds_by_index(term)))
        self._others = Filter(tuple(term for term in terms if not finds_by_index(term)))
        self._jobs = filtered(own, tenant, by_index)

    def step(self, after: uuid.UUID | None, *, size: int, looked_at: int | None = None) -> Found:
        """The next matches after that job: at most `size`, among `looked_at` if it has to look."""
        walks = [self._after(after, walk) for walk in self._walks()]
        edge = self._edge(walks, looked_at or LOOKED_AT) if self._has_to_look() else None
        ids: list[uuid.UUID] = []
        for walk in walks:
            near = walk.filter(**{self._until: edge}) if edge else walk
            ids += self._matching(near).values_list("pk", flat=True)[: size + 1]
        ids.sort(reverse=not self.oldest_first)
        if len(ids) > size:
            return Found(ids[:size], ids[size - 1])
        return Found(ids, edge)

    def page(self, after: uuid.UUID | None, size: int) -> tuple[list[Job], uuid.UUID | None]:
        """The next jobs whose bodies are not too large together, and the id to go on after."""
        found = self.step(after, size=size)
        light = _light_enough(found.ids)
        jobs = Job.objects.in_bulk(light)
        rest = found.rest if len(light) == len(found.ids) else light[-1]
        return [jobs[job_id] for job_id in light if job_id in jobs], rest

    def start(self) -> uuid.UUID | None:
        """An id before the oldest job in one of the wanted statuses, None if there is none.

        A search for waiting jobs need not pass by all that finished before.
        """
        oldest = [self._oldest(status) for status in self.wanted.statuses]
        ids = [job_id for job_id in oldest if job_id is not None]
        return uuid.UUID(int=min(ids).int - 1) if ids else None

    @property
    def _until(self) -> str:
        return "pk__lte" if self.oldest_first else "pk__gte"

    def _walks(self) -> list[QuerySet[Job]]:
        """Jobs in the order of an index: those of each status, or all where a status has none."""
        if self._knows_statuses():
            return [in_status(self._jobs, status) for status in sorted(self.wanted.statuses)]
        return [self._jobs]

    def _knows_statuses(self) -> bool:
        return self.wanted.statuses <= _HAVE_INDEX

    def _has_to_look(self) -> bool:
        is_any_status = self.wanted.statuses == frozenset(Status)
        return bool(self._others) or not (self._knows_statuses() or is_any_status)

    def _after(self, last: uuid.UUID | None, walk: QuerySet[Job]) -> QuerySet[Job]:
        walk = walk.order_by("pk" if self.oldest_first else "-pk")
        if last is None:
            return walk
        return walk.filter(**{"pk__gt" if self.oldest_first else "pk__lt": last})

    def _edge(self, walks: list[QuerySet[Job]], looked_at: int) -> uuid.UUID | None:
        """The last job of all that one step looks at, None if that is the last one there is."""
        last = [w.values_list("pk", flat=True)[looked_at - 1 : looked_at].first() for w in walks]
        edges = [edge for edge in last if edge is not None]
        return (min if self.oldest_first else max)(edges, default=None)

    def _matching(self, walk: QuerySet[Job]) -> QuerySet[Job]:
        if not self._knows_statuses() and self.wanted.statuses != frozenset(Status):
            walk = walk.filter(status__in=sorted(self.wanted.statuses))
        return filtered(walk, self.tenant, self._others)

    def _oldest(self, status: Status) -> uuid.UUID | None:
        jobs = Job.objects.all()
        if self.tenant and status is Status.PENDING:
            lanes = Lane.objects.filter(tenant=self.tenant)
            jobs = jobs.filter(lane_id__in=list(lanes.values_list("pk", flat=True)))
        elif self.tenant:
            jobs = jobs.filter(tenant_id=self.tenant.pk)
        return in_status(jobs, status).order_by("pk").values_list("pk", flat=True).first()


def _light_enough(ids: list[uuid.UUID]) -> list[uuid.UUID]:
    """As many of the first as may be held at once, and at least one."""
    bodies = Length("payload") + Coalesce(Length("result"), 0)
    weights = dict(Job.objects.filter(pk__in=ids).values_list("pk", bodies))
    weight = 0
    for count, job_id in enumerate(ids):
        weight += weights.get(job_id, 0)
        if count and weight > MAX_PAGE_BYTES:
            return ids[:count]
    return ids


def settled(wanted: Filter) -> Filter:
    """The filter with its ages counted from now, by the database's clock."""
    return wanted.at(now()) if wanted.has_ages else wanted
