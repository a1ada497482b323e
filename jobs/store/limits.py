"""What a tenant may submit, counted exactly."""

from jobs.statuses import Status
from jobs.store.dialect import execute, fetch, fetch_all, is_postgresql

WINDOW_SECONDS = 60

_LOCK = "SELECT pg_advisory_xact_lock(7204, %(tenant_id)s::int)"


def hold_submissions(tenant_id: int) -> None:
    """Wait until the tenant's earlier submissions have ended, and hold up later ones.

    Until the end of the transaction. Call it before the insert: who inserts holds its idempotency
    key and new lanes, and others would wait for those while they hold this.
    """
    if is_postgresql():
        fetch(_LOCK, {"tenant_id": tenant_id})


# A second counts until it has left the window as a whole. One that is yet to come, by more than a
# window, was counted before the clock was set back: it would count for as long as that was.
_WINDOW = f"""
SELECT second, submitted, EPOCH() AS now FROM jobs_submissionsecond
WHERE tenant_id = %(tenant_id)s AND second >= EPOCH() - {WINDOW_SECONDS}
    AND second <= EPOCH() + {WINDOW_SECONDS} ORDER BY second"""

_FORGET = f"""
DELETE FROM jobs_submissionsecond
WHERE tenant_id = %(tenant_id)s AND second < EPOCH() - {WINDOW_SECONDS}"""

_FORGET_ALL = f"DELETE FROM jobs_submissionsecond WHERE second < EPOCH() - {WINDOW_SECONDS}"

_TAKE = """
INSERT INTO jobs_submissionsecond (tenant_id, second, submitted)
VALUES (%(tenant_id)s, EPOCH(), %(count)s)
ON CONFLICT (tenant_id, second)
DO UPDATE SET submitted = jobs_submissionsecond.submitted + excluded.submitted"""


def take_submissions(tenant_id: int, *, count: int, limit: int) -> int:
    """Count `count` submissions against the limit of any 60 seconds.

    Answers 0 when they were taken, otherwise the whole seconds after which they could be. Exact for
    who holds the tenant's submissions.
    """
    parameters = {"tenant_id": tenant_id, "count": count}
    wait = submissions_wait(tenant_id, count=count, limit=limit)
    if wait == 0:
        fetch_all([(_FORGET, parameters), (_TAKE, parameters)])
    return wait


def submissions_wait(tenant_id: int, *, count: int, limit: int) -> int:
    """What `take_submissions` would answer: a look that takes nothing and waits for nobody."""
    return _wait(submission_window(tenant_id), count, limit)


def submission_window(tenant_id: int) -> list[tuple[int, int, int]]:
    """The seconds whose submissions still count, oldest first: (second, submitted, now)."""
    return fetch(_WINDOW, {"tenant_id": tenant_id})


def _wait(window: list[tuple[int, int, int]], count: int, limit: int) -> int:
    over = sum(submitted for _, submitted, _ in window) + count - limit
    if over <= 0:
        return 0
    for second, submitted, now in window:
        over -= submitted
        if over <= 0:
            return second + WINDOW_SECONDS + 1 - now
    return WINDOW_SECONDS


# Two parts, each served by its own partial index.
_WAITING = f"""
SELECT count(*) FROM (
    SELECT 1 FROM (
        SELECT 1 FROM jobs_job
        WHERE lane_id IN (SELECT id FROM jobs_lane WHERE tenant_id = %(tenant_id)s)
            AND status = '{Status.PENDING}'
        UNION ALL
        SELECT 1 FROM jobs_job
        WHERE tenant_id = %(tenant_id)s
            AND status IN ('{Status.SCHEDULED}', '{Status.BLOCKED}', '{Status.FAILED}')
    ) AS waiting LIMIT %(at_most)s
) AS counted"""


def count_waiting(tenant_id: int, *, at_most: int) -> int:
    """The tenant's waiting jobs, counted up to `at_most`.

    Exact for who holds the tenant's submissions.
    """
    ((count,),) = fetch(_WAITING, {"tenant_id": tenant_id, "at_most": at_most})
    return int(count)


def forget_submissions() -> None:
    """Delete what has left the window; a tenant that submits does so for itself."""
    execute(_FORGET_ALL, {})
