"""How many live jobs lanes have, counted to a cap. Reads only, through the indexes of live jobs."""

from collections.abc import Collection

from django.db import connection
from django.db.models import BigIntegerField, DateTimeField, F, IntegerField, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from jobs.lookup import in_status
from jobs.models import Job, Lane
from jobs.statuses import Status
from jobs.store.dialect import BY_TENANT, fetch, fewest_rows, is_postgresql

CAP = 10_000
"""Where counting stops: that many stand for that many or more."""
SEARCHED = 100_000
"""In a status that is not indexed by lane, so many of a tenant's jobs are looked at."""


class RowCount(Subquery):
    """How many rows a query has, which may be cut off and about a row of an outer one."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


def lanes_with_counts(tenant_ids: Collection[int]) -> QuerySet[Lane]:
    """The lanes, each with `now`, `waiting`, `oldest` (became ready then) and `running`.

    `oldest` is exact for lanes with up to `CAP` waiting jobs, which takes the index alone; of
    longer ones it looks at the first thousand of each line in the order they run.
    """
    return (
        Lane.objects.filter(tenant_id__in=tenant_ids)
        .annotate(
            now=Now(),
            waiting=RawSQL(
                """(SELECT count(*) FROM (
                    SELECT 1 FROM jobs_job
                    WHERE jobs_job.lane_id = jobs_lane.id AND jobs_job.status = 'PENDING'
                    LIMIT %s) AS counted)""",
                (CAP + 1,),
                output_field=BigIntegerField(),
            ),
            oldest=RawSQL(
                """(SELECT CASE WHEN count(*) <= %s THEN min(run_at) ELSE (
                    SELECT min((SELECT min(run_at) FROM (
                        SELECT run_at FROM jobs_job
                        WHERE jobs_job.lane_id = line.lane_id AND jobs_job.line_id = line.id
                            AND jobs_job.status = 'PENDING'
                        ORDER BY priority * -1, run_at, id LIMIT 1000) AS first))
                    FROM jobs_line AS line WHERE line.lane_id = jobs_lane.id) END
                FROM (
                    SELECT run_at FROM jobs_job
                    WHERE jobs_job.lane_id = jobs_lane.id AND jobs_job.status = 'PENDING'
                    LIMIT %s) AS counted)""",
                (CAP, CAP + 1),
                output_field=DateTimeField(),
            ),
            running=RawSQL(
                """(SELECT count(*) FROM jobs_job
                    WHERE jobs_job.tenant_id = jobs_lane.tenant_id
                        AND jobs_job.lane_id = jobs_lane.id AND jobs_job.status = 'RUNNING')""",
                (),
                output_field=BigIntegerField(),
            ),
        )
        .order_by(F("waiting").desc(), F("running").desc(), "queue", "pk")
    )


def counted_by_lane(tenant_id: int, status: Status) -> list[tuple[int, int]]:
    """The lanes of a tenant's jobs in one of the `UNUSUAL` statuses, and how many are in each.

    `SEARCHED` of the jobs are looked at. Dead letters are sought among the tenant's own: the index
    of those of all tenants is in the order of the table, and looks cheaper than it is.
    """
    jobs = in_status(Job.objects.filter(tenant_id=tenant_id), status).order_by()
    statement, parameters = jobs.values("lane_id")[:SEARCHED].query.sql_with_params()
    with fewest_rows(), connection.cursor() as cursor:
        cursor.execute(
            f"SELECT lane_id, count(*) FROM ({statement}) AS searched GROUP BY lane_id",
            parameters,
        )
        return [(lane_id, count) for lane_id, count in cursor.fetchall()]


# Past the ORM: it would make three times of each row, which takes longer than all of the search.
_TIMES = f"""
SELECT SECONDS(run_at, started_at), SECONDS(started_at, finished_at) FROM (
    SELECT id, status, run_at, started_at, finished_at FROM jobs_job
    WHERE tenant_id = %(tenant)s ORDER BY id DESC LIMIT %(among)s
) AS newest
WHERE status = '{Status.DONE}' ORDER BY id DESC LIMIT %(at_most)s"""


def newest_times(tenant_id: int, *, among: int, at_most: int) -> list[tuple[float, float]]:
    """For how many seconds the newest that are done waited and ran, those among the newest jobs."""
    asked = {"tenant": tenant_id, "among": among, "at_most": at_most}
    rows = fetch(_TIMES, asked, before=[BY_TENANT] if is_postgresql() else [])
    return [(max(0.0, waited), max(0.0, ran)) for waited, ran in rows]
