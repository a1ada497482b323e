"""PostgreSQL past Django's cursor, as workers go there: the other tests watch the statements."""

from collections.abc import Iterator

import pytest
from django.db import ProgrammingError, connection

from jobs import services, store
from jobs.models import Tenant
from jobs.statuses import Status
from jobs.store.dialect import fetch, fetch_all, is_postgresql
from tests.store.steps import WORKER, claim, lane_of, outcome, status_of, submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_watches() -> Iterator[None]:
    """Take the wrappers off the connection for a while."""
    if not is_postgresql():
        pytest.skip("SQLite has no round trips")
    connection.ensure_connection()
    wrappers, connection.execute_wrappers = connection.execute_wrappers, []
    yield
    connection.execute_wrappers = wrappers


@pytest.mark.parametrize("max_running", [None, 3])
def test_jobs_go_their_way(alice: Tenant, max_running: int | None) -> None:
    services.change_limits(alice, actor="command:test", max_running=max_running)
    ids = submit(alice, 5, payload=b'{"a": "\\u00e4"}', tags=("t",))
    (seen,) = store.ready_lanes()
    jobs = store.claim(WORKER, [seen.share(4)], lease_seconds=30)
    assert [job.id for job in jobs] == ids[: max_running or 4]
    assert {job.payload for job in jobs} == {b'{"a": "\\u00e4"}'}
    assert set(store.extend([store.Lease(x.id, x.fence) for x in jobs], lease_seconds=9)) == {
        job.id for job in jobs
    }
    stale = outcome(jobs[0], Status.DONE, fence=jobs[0].fence - 1)
    done = [outcome(job, Status.DONE, result=b"\x00\xff") for job in jobs[:2]]
    failed = outcome(jobs[2], Status.FAILED)
    assert store.finish(WORKER, [stale, *done, failed]) == {job.id for job in jobs[:3]}
    assert [status_of(job.id) for job in jobs[:3]] == [Status.DONE, Status.DONE, Status.FAILED]


def test_marks_hide_what_comes_before_them(alice: Tenant) -> None:
    submit(alice, 4)
    first, second = claim(lane_of(alice), quota=2)
    marks = {second.line_id: second.mark}
    assert len(store.ready_lanes(after=marks)) == 1
    store.release([store.Lease(first.id, first.fence)])
    assert first.id not in {job.id for job in claim(lane_of(alice), after=marks)}
    assert [job.id for job in claim(lane_of(alice))] == [first.id]


def test_statement_that_fails_leaves_a_usable_connection() -> None:
    good = ("SELECT 1", {})
    for _ in range(8):  # beyond the use at which the driver prepares a statement
        with pytest.raises(ProgrammingError):
            fetch_all([good, ("SELECT nothing FROM nowhere", {}), ("SELECT 2", {})])
        assert fetch("SELECT 2", {}) == [(2,)]


def test_claims_are_planned_once(alice: Tenant) -> None:
    services.change_limits(alice, actor="command:test", max_running=3)
    submit(alice, 72)
    for _ in range(12):  # of which the first few are not prepared
        (seen,) = store.ready_lanes()
        jobs = store.claim(WORKER, [seen.share(3)], lease_seconds=30)
        done = [outcome(job, Status.DONE) for job in jobs]
        _, jobs = store.relay(WORKER, done, [seen.share(3)], lease_seconds=30)
        store.finish(WORKER, [outcome(job, Status.DONE) for job in jobs])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
            " WHERE statement ~ 'WITH share'"
        )
        planned = cursor.fetchall()
    assert len(planned) == 1
    assert all(once and not each_time for once, each_time in planned)
