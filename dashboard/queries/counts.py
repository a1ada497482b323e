"""How many jobs wait and run, per lane and per tenant. Counts stop at a cap."""

from collections.abc import Collection
from typing import NamedTuple

from django.db.models import BigIntegerField, DateTimeField, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from jobs.models import Tenant
from jobs.statuses import UNUSUAL, Status
from jobs.store.depths import CAP
from jobs.store.dialect import BY_TENANT, IN_UNUSUAL, array, fetch, is_postgresql


class Count(NamedTuple):
    """A number of jobs; `is_capped` when there are at least so many."""

    value: int
    is_capped: bool = False

    def __str__(self) -> str:
        return f"{self.value:,}+" if self.is_capped else f"{self.value:,}"

    def __bool__(self) -> bool:
        return self.value > 0


def total(values: Collection[int], cap: int = CAP) -> Count:
    """The sum of counts that were each capped at `cap`."""
    return Count(sum(min(value, cap) for value in values), any(value > cap for value in values))


def capped(status: Status, cap: int = CAP) -> RawSQL:
    """Of a tenant: its jobs in one of the `UNUSUAL` statuses, at most one more than `cap`."""
    return RawSQL(  # noqa: S611  (the words are ours)
        f"""(SELECT count(*) FROM (
            SELECT 1 FROM jobs_job
            WHERE jobs_job.tenant_id = jobs_tenant.id AND jobs_job.status = %s
                AND jobs_job.{IN_UNUSUAL}
            LIMIT %s) AS counted)""",
        (status.value, cap + 1),
        output_field=BigIntegerField(),
    )


_WHERE = {
    Status.PENDING: """lane_id IN (SELECT id FROM jobs_lane WHERE tenant_id = ANY(%(tenants)s))
            AND status = 'PENDING'""",
    Status.RUNNING: "tenant_id = ANY(%(tenants)s) AND status = 'RUNNING'",
    **{
        status: f"""tenant_id = ANY(%(tenants)s) AND status = '{status}'
            AND {IN_UNUSUAL}"""
        for status in UNUSUAL
    },
}
_BY_STATUS = " UNION ALL ".join(
    f"""
    SELECT '{status}', count(*) FROM (
        SELECT 1 FROM jobs_job WHERE {where} LIMIT %(limit)s) AS counted_{number}"""
    for number, (status, where) in enumerate(_WHERE.items())
)


def by_status(tenant_ids: Collection[int]) -> dict[Status, Count]:
    """How many jobs of these tenants together are in each status but DONE, up to the cap."""
    asked = {"tenants": array(tenant_ids), "limit": CAP + 1}
    rows = fetch(_BY_STATUS, asked, before=[BY_TENANT] if is_postgresql() else [])
    return {Status(status): total([count]) for status, count in rows}


def dead_of(tenant_ids: Collection[int]) -> dict[int, int]:
    """How many dead letters each of the tenants has, at most one more than `CAP`."""
    tenants = Tenant.objects.filter(pk__in=tenant_ids).order_by()
    return dict(tenants.annotate(dead=capped(Status.DLQ)).values_list("pk", "dead"))


def running_of_tenant() -> RawSQL:
    """Of a tenant: its running jobs."""
    return RawSQL(
        """(SELECT count(*) FROM jobs_job
            WHERE jobs_job.tenant_id = jobs_tenant.id AND jobs_job.status = 'RUNNING')""",
        (),
        output_field=BigIntegerField(),
    )


def newest_start_of_tenant() -> RawSQL:
    """Of a tenant: when the youngest of its running jobs started."""
    return RawSQL(
        """(SELECT max(started_at) FROM jobs_job
            WHERE jobs_job.tenant_id = jobs_tenant.id AND jobs_job.status = 'RUNNING')""",
        (),
        output_field=DateTimeField(),
    )


def tenants_with_counts(tenant_ids: Collection[int]) -> QuerySet[Tenant]:
    """The tenants, each with `now` and a count named after each of the `UNUSUAL` statuses."""
    counts = {status.value.lower(): capped(status) for status in UNUSUAL}
    return Tenant.objects.filter(pk__in=tenant_ids).annotate(now=Now(), **counts)
