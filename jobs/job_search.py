"""The search for jobs that match a filter: a walk in the order of their ids, bounded at each step.

Jobs are found through an index where there is one for the filter; where there is none, one step
looks at so many of them and says where to go on. So a step is quick, however many jobs there are.
"""

import uuid
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce, Length

from jobs.filters import Filter, Term
from jobs.job_filters import filtered, finds_by_index, ids_of_those_times, tags_of
from jobs.job_rows import find_jobs
from jobs.lookup import NoIndex, bound, by_id_in_status, in_status
from jobs.models import Job, Lane, Tenant
from jobs.statuses import UNUSUAL, Status
from jobs.store.clock import now
from jobs.store.dialect import fewest_rows

LOOKED_AT = 10_000
"""Jobs that one step looks at where no index finds those that match."""
FIRST_LOOK = 4
"""At first it looks at so many times the jobs that are wanted: most matches are not rare."""
MOST_SORTED = 200_000
"""More jobs of a status whose index has another order are not sorted: steps come to them."""
MOST_TAGGED = 20_000
"""Jobs with a tag that more have are not collected: each that is looked at is asked for it."""
MAX_PAGE_BYTES = 8_000_000


class Found(NamedTuple):
    """The matching ids of one step, in order, and the id to go on after, None at the end."""

    ids: list[uuid.UUID]
    rest: uuid.UUID | None


class _Walk(NamedTuple):
    """Jobs in the order of an index, the last to look at, and what is still to be looked for."""

    jobs: QuerySet[Job]
    edge: uuid.UUID | None
    only: frozenset[Status] | None


class Search:
    """Among the jobs of the tenant (None: of all), for those that match, newest or oldest first."""

    def __init__(
        self, tenant: Tenant | None, wanted: Filter, *, oldest_first: bool = False
    ) -> None:
        self.tenant = tenant
        self.wanted = settled(wanted)
        self.oldest_first = oldest_first
        between = ids_of_those_times(self.wanted)
        self._start, self._end = between if oldest_first else between[::-1]
        self._many: dict[Status, bool] = {}
        self._own = Job.objects.filter(tenant_id=tenant.pk) if tenant else Job.objects.all()

    def step(self, after: uuid.UUID | None, *, size: int) -> Found:
        """The next matches after that job: at most `size`, among `LOOKED_AT` if it has to look.

        Those that are not rare are found among a few.
        """
        few = min(FIRST_LOOK * size, LOOKED_AT)
        with fewest_rows():
            found = self._step(after, size, few)
            if found.rest is not None and len(found.ids) < size and few < LOOKED_AT:
                found = self._step(after, size, LOOKED_AT)
        return found

    def _step(self, after: uuid.UUID | None, size: int, looked_at: int) -> Found:
        walks = list(self._walks(after, looked_at))
        edges = [walk.edge for walk in walks if walk.edge is not None]
        edge = (min if self.oldest_first else max)(edges, default=None)
        ids: list[uuid.UUID] = []
        for walk in walks:
            near = self._until(edge, walk.jobs)
            found = filtered(near, self.tenant, self._others, one_by_one=True)
            if walk.only is not None:
                found = found.filter(status__in=sorted(walk.only))
            ids += found.values_list("pk", flat=True)[: size + 1]
        ids = sorted(set(ids), reverse=not self.oldest_first)
        if len(ids) > size:
            return Found(ids[:size], ids[size - 1])
        return Found(ids, edge)

    def page(self, after: uuid.UUID | None, size: int) -> tuple[list[Job], uuid.UUID | None]:
        """The next jobs whose bodies are not too large together, and the id to go on after."""
        found = self.step(after, size=size)
        light = _light_enough(found.ids)
        jobs = find_jobs(self.tenant.pk if self.tenant else None, light)
        rest = found.rest if len(light) == len(found.ids) else light[-1]
        return [jobs[job_id] for job_id in light if job_id in jobs], rest

    def _walks(self, after: uuid.UUID | None, looked_at: int) -> Iterator[_Walk]:
        """Walks that pass by every match: one for each status, or one where that has no index."""
        statuses = self.wanted.statuses
        if statuses == frozenset(Status):
            yield self._walk(self._after(after, self._jobs), looked_at)
        elif Status.DONE in statuses:
            yield self._walk(self._after(after, self._jobs), looked_at, only=statuses)
        else:
            for status in sorted(statuses - {Status.PENDING}):
                yield self._walk_in_status(status, after, looked_at)
            if Status.PENDING in statuses:
                yield self._walk_to_waiting(after)

    def _walk(
        self, jobs: QuerySet[Job], looked_at: int, only: frozenset[Status] | None = None
    ) -> _Walk:
        has_to_look = self._others or only is not None
        edge = _key_at(looked_at, self._until(None, jobs)) if has_to_look else None
        return _Walk(jobs, edge, only)

    def _walk_in_status(self, status: Status, after: uuid.UUID | None, looked_at: int) -> _Walk:
        jobs = self._after(after, self._in_status(status))
        if self.tenant is None and status != Status.DLQ and self._are_many_in(status, jobs):
            own = self._after(after, self._jobs)
            return self._walk(own, looked_at, only=frozenset({status}))
        return self._walk(self._in_order(jobs, status), looked_at)

    def _in_status(self, status: Status) -> QuerySet[Job]:
        """Through their index, which begins with the tenant, but for the dead letters of all.

        That of those that run is without ids. SQLite, which has no statistics, would take one with
        them for any bound on ids, and go through all jobs until there.
        """
        is_of_all = self.tenant is None and status != Status.DLQ
        whose = Q(tenant_id__in=self._everybody) if is_of_all else Q()
        if status in UNUSUAL:
            return in_status(self._jobs.filter(whose), status)
        return self._jobs.filter(pk__in=in_status(self._own.filter(whose), status).values("pk"))

    @cached_property
    def _jobs(self) -> QuerySet[Job]:
        """The jobs that indexes find."""
        by_index = Filter(tuple(term for term in self._terms if term not in self._others.terms))
        return filtered(self._own, self.tenant, by_index)

    @cached_property
    def _others(self) -> Filter:
        """What each of those jobs is asked for."""
        return Filter(tuple(term for term in self._terms if not self._finds_few(term)))

    @property
    def _terms(self) -> list[Term]:
        return [term for term in self.wanted.terms if term.word != "status"]

    def _finds_few(self, term: Term) -> bool:
        if term.word != "tag" or term.is_negated:
            return finds_by_index(term)
        whose = [self.tenant.pk] if self.tenant else self._everybody
        return tags_of(whose, term)[: MOST_TAGGED + 1].count() <= MOST_TAGGED

    @cached_property
    def _everybody(self) -> list[int]:
        return list(Tenant.objects.values_list("pk", flat=True).order_by())

    def _are_many_in(self, status: Status, jobs: QuerySet[Job]) -> bool:
        """Counted by the first step: to do so takes longer than a step."""
        if status not in self._many:
            self._many[status] = self._are_many(jobs)
        return self._many[status]

    def _are_many(self, jobs: QuerySet[Job]) -> bool:
        return self._until(None, jobs).order_by()[: MOST_SORTED + 1].count() > MOST_SORTED

    def _in_order(self, jobs: QuerySet[Job], status: Status) -> QuerySet[Job]:
        return by_id_in_status(
            jobs, status, oldest_first=self.oldest_first, of_all=self.tenant is None
        )

    def _walk_to_waiting(self, after: uuid.UUID | None) -> _Walk:
        """Ready jobs are found among all jobs in their order; where none is near, the next one is.

        Their own index has another order: for a tenant with many, that takes a while.
        """
        only = frozenset({Status.PENDING})
        walk = self._walk(self._after(after, self._jobs), LOOKED_AT, only)
        if walk.edge is None or self._until(walk.edge, walk.jobs).filter(status__in=only).exists():
            return walk
        ready = self._beyond(walk.edge, self._ready())
        if self._are_many(ready):
            return walk
        nearest = _key_at(1, self._in_order(ready, Status.PENDING))
        if nearest is None:
            return _Walk(Job.objects.none(), None, None)
        beyond = {"pk__gte" if self.oldest_first else "pk__lte": bound(nearest)}
        return self._walk(self._jobs.filter(**beyond).order_by(self._order), LOOKED_AT, only)

    @property
    def _order(self) -> str:
        return "pk" if self.oldest_first else "-pk"

    def _ready(self) -> QuerySet[Job]:
        """The ready jobs, through their own index, which is by lanes."""
        lanes = Lane.objects.filter(tenant=self.tenant) if self.tenant else Lane.objects.all()
        lane_ids = list(lanes.values_list("pk", flat=True).order_by())
        return in_status(Job.objects.filter(lane_id__in=lane_ids), Status.PENDING)

    def _beyond(self, edge: uuid.UUID, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """Those after the edge, with no index for that."""
        compared = {f"key__{'gt' if self.oldest_first else 'lt'}": bound(edge)}
        return jobs.alias(key=NoIndex("pk")).filter(**compared)

    def _after(self, last: uuid.UUID | None, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """From where the search begins, or goes on."""
        starts = [start for start in (last, self._start) if start is not None]
        jobs = jobs.order_by(self._order)
        if not starts:
            return jobs
        if self.oldest_first:
            return jobs.filter(pk__gt=bound(max(starts)))
        return jobs.filter(pk__lt=bound(min(starts)))

    def _until(self, edge: uuid.UUID | None, jobs: QuerySet[Job]) -> QuerySet[Job]:
        """To the edge, or to where the search ends.

        With both, SQLite might go to the farther of them for jobs that lie before the other.
        """
        if edge is not None:
            return jobs.filter(**{"pk__lte" if self.oldest_first else "pk__gte": bound(edge)})
        if self._end is not None:
            return jobs.filter(**{"pk__lt" if self.oldest_first else "pk__gt": bound(self._end)})
        return jobs


def _key_at(number: int, jobs: QuerySet[Job]) -> uuid.UUID | None:
    """The id of the job at that place, the first is 1; None if there are fewer."""
    return jobs.values_list("pk", flat=True)[number - 1 : number].first()


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
