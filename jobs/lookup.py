"""How jobs are looked up so that an index finds them, however many have finished."""

import uuid
from typing import Any, TypeVar

from django.db import connection
from django.db.models import F, Func, Model, Q, QuerySet, UUIDField, Value
from django.db.models.functions import Cast
from django.db.models.lookups import In

from jobs.statuses import UNUSUAL, Status

J = TypeVar("J", bound=Model)


class _InLiterals(In):
    """`IN` with its values in the statement and not as parameters; `=` with a single one."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        left, parameters = self.process_lhs(compiler, connection)
        first, *more = map(repr, self.rhs)
        values = f"IN ({', '.join([first, *more])})" if more else f"= {first}"
        return f"{left} {values}", parameters


def in_unusual_index() -> Q:
    """To be added to a condition on unusual statuses, so that SQLite uses their index.

    SQLite recognises the condition of the index by its literals alone. PostgreSQL sees by itself
    that a status implies it, and would take it for a second condition that leaves fewer rows still.
    """
    literals = [status.value for status in UNUSUAL]
    return Q(_InLiterals(F("status"), literals)) if connection.vendor == "sqlite" else Q()


def in_status(jobs: QuerySet[J], *statuses: str) -> QuerySet[J]:
    """Those of the jobs that are in one of the statuses, found through an index.

    Those that are ready or run have one without their status: SQLite asks each of its rows for a
    status that is a parameter.
    """
    hint = in_unusual_index() if set(statuses) <= set(UNUSUAL) else Q()
    if len(statuses) == 1:
        if connection.vendor == "sqlite" and not hint:
            return jobs.filter(_InLiterals(F("status"), [Status(statuses[0]).value]))
        return jobs.filter(hint, status=statuses[0])
    return jobs.filter(hint, status__in=statuses)


class NoIndex(Func):
    """A column that no index is chosen for."""

    template = "coalesce(%(expressions)s, %(expressions)s)"
    arity = 1


def by_id_in_status(
    jobs: QuerySet[J], status: str, *, oldest_first: bool, of_all: bool = False
) -> QuerySet[J]:
    """Jobs, of this status alone, in the order of their ids; `of_all`: those of all tenants.

    PostgreSQL would rather walk over all jobs, which are in order, than sort those of the status,
    where their index is in another order, as it is for those that run or are ready, and of all
    tenants for others than dead letters: it expects some on the way, and they may all be at its
    end. So would SQLite, which has no statistics.
    """
    is_sorted = status != Status.DLQ if of_all else status not in UNUSUAL
    key = NoIndex("pk") if is_sorted else F("pk")
    return jobs.order_by(key.asc() if oldest_first else key.desc())


class _Unknown(Func):
    """A value that the planner does not look at."""

    template = "(SELECT %(expressions)s)"
    arity = 1


def bound(job_id: uuid.UUID) -> Any:
    """The id, to be compared with others so that a tenant's jobs are found by its own index.

    PostgreSQL cannot tell how far two ids are apart. It takes jobs between two that are not far for
    next to none, and would as soon look through those of all tenants there.
    """
    if connection.vendor == "sqlite":
        return job_id
    return _Unknown(Cast(Value(job_id), UUIDField()))


def edge_of(rows: QuerySet[Any], at_most: int) -> Any:
    """The lowest of the `at_most` highest primary keys, None if there are fewer."""
    keys = rows.order_by("-pk").values_list("pk", flat=True)
    return keys[at_most - 1 : at_most].first()


def newest(rows: QuerySet[J], at_most: int) -> QuerySet[J]:
    """The rows with the `at_most` highest primary keys."""
    edge = edge_of(rows, at_most)
    return rows if edge is None else rows.filter(pk__gte=edge)
