"""What belongs to a tenant besides its jobs, removed with it."""

from django.db import connection

from jobs.store.dialect import is_postgresql, sql

# In this mode nobody writes jobs meanwhile, and who did has committed. Others queue behind this
# lock, so it is not waited for long.
_HOLD_OFF_WRITERS = "SET LOCAL lock_timeout = '2s'; LOCK TABLE jobs_job IN SHARE MODE"

_HAS_JOBS = "SELECT EXISTS (SELECT 1 FROM jobs_job WHERE tenant_id = %(tenant_id)s)"

_FORGET = (
    "DELETE FROM jobs_laneminute WHERE tenant_id = %(tenant_id)s",
    "DELETE FROM jobs_laneperiod WHERE tenant_id = %(tenant_id)s",
    "DELETE FROM jobs_waitminute WHERE tenant_id = %(tenant_id)s",
    "DELETE FROM jobs_submissionsecond WHERE tenant_id = %(tenant_id)s",
)


def forget_tenant(tenant_id: int) -> bool:
    """Remove what was counted of a tenant without jobs; answers False if it has any.

    Until the end of the transaction, no job is submitted: delete the tenant in it.
    """
    with connection.cursor() as cursor:
        if is_postgresql():
            cursor.execute(_HOLD_OFF_WRITERS)
        cursor.execute(sql(_HAS_JOBS), {"tenant_id": tenant_id})
        (has_jobs,) = cursor.fetchone()
        if not has_jobs:
            for statement in _FORGET:
                cursor.execute(sql(statement), {"tenant_id": tenant_id})
    return not has_jobs
