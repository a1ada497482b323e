"""The hot statements keep their indexes on PostgreSQL, with good statistics and with stale ones."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from psycopg.errors import Diagnostic
from pytest_django import DjangoDbBlocker

from jobs import store
from jobs.models import Job, Tenant
from jobs.statuses import AttemptOutcome, Status
from jobs.store import Lease
from jobs.store.dialect import is_postgresql
from tests.store.steps import claim, database_time, lane_of, no_delay, outcome, submit

pytestmark = pytest.mark.django_db

FINISHED, READY, RUNNING, DUE = 20_000, 2_000, 700, 500
ALL_AGES = store.Ages(finished=60, dead=60)
Plans = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=["good", "stale"])
def plans(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Plans:
    """The plans of each operation's statements about jobs, on a large table; then all is undone.

    The stale statistics are from when every job was ready, as they are after a large bulk.
    """
    with django_db_blocker.unblock():
        if not is_postgresql():
            pytest.skip("plans of PostgreSQL")
        with transaction.atomic():
            tenant = Tenant.objects.create(slug="large", max_running=5_000)
            found = plans_of_operations(tenant, analyze_early=request.param == "stale")
            transaction.set_rollback(True)
    return found


def plans_of_operations(tenant: Tenant, *, analyze_early: bool) -> Plans:
    fill(tenant, analyze_early=analyze_early)
    jobs = claim(lane_of(tenant), quota=RUNNING)
    leases = [Lease(job.id, job.fence) for job in jobs]
    share = [store.Share(lane_of(tenant).pk, 50)]
    Job.objects.filter(pk__in=[job.id for job in jobs[:10]]).update(lease_expires_at=long_ago())
    failed = {"attempt_outcome": AttemptOutcome.FAILED}
    operations: dict[str, Callable[[], object]] = {
        "look": store.ready_lanes,
        "claim": lambda: store.claim("worker-2", share, lease_seconds=30, unknown=["strange"]),
        "claim at once": lambda: store.claim("worker-2", at_once(), lease_seconds=30),
        "reap": lambda: store.reap("reaper", no_delay),
        "extend": lambda: store.extend(leases, lease_seconds=30),
        "finish": lambda: store.finish("w", [outcome(job, Status.DONE) for job in jobs[10:510]]),
        "fail one": lambda: store.finish("w", [outcome(jobs[600], Status.FAILED, **failed)]),
        "release": lambda: store.release(leases[-50:]),
        "promote": store.promote,
        "cancel": lambda: store.cancel([job.id for job in jobs[520:540]]),
        "find old": lambda: find_old(tenant),
        "purge": lambda: store.purge(find_old(tenant), ALL_AGES),
    }
    return {name: explain(operation) for name, operation in operations.items()}


def at_once() -> list[store.Share]:
    (lane,) = store.ready_lanes()
    assert lane.only_line
    assert lane.room is not None or lane.tenant_room is not None
    return [lane.share(50)]


def fill(tenant: Tenant, *, analyze_early: bool) -> None:
    """The tenant's jobs, with finished ones of another between them."""
    other = Tenant.objects.create(slug="other", max_running=None)
    with connection.cursor() as cursor:
        for _ in range(0, FINISHED + READY + RUNNING + DUE, 1_100):
            submit(tenant, 1_100)
            submit(other, 500)
        if analyze_early:
            cursor.execute("ANALYZE")
        ids = list(Job.objects.filter(tenant=tenant).order_by("pk").values_list("pk", flat=True))
        finished = {"status": Status.DONE, "finished_at": long_ago()}
        Job.objects.filter(pk__in=ids[:FINISHED]).update(**finished)
        Job.objects.filter(tenant=other).update(**finished)
        due = ids[FINISHED : FINISHED + DUE]
        Job.objects.filter(pk__in=due).update(status=Status.SCHEDULED, run_at=long_ago())
        if not analyze_early:
            cursor.execute("ANALYZE")


def find_old(tenant: Tenant) -> list[uuid.UUID]:
    last_id = uuid.UUID(int=2**128 - 1)
    found = store.find_old(tenant.pk, ALL_AGES, after=store.FIRST_ID, until=last_id, limit=1_000)
    assert len(found.old) == 1_000
    return found.old


def long_ago() -> Any:
    return database_time() - timedelta(hours=1)


def explain(operation: Callable[[], object]) -> list[dict[str, Any]]:
    """The nodes of the plans that all statements about jobs had, prepared as workers have them."""
    plans: list[dict[str, Any]] = []

    def note(diagnostic: Diagnostic) -> None:
        told = (diagnostic.message_primary or "").partition("plan:")[2]
        if told:
            plans.append(json.loads(told))

    with watched(note), patch.object(connection, "execute_wrappers", []):
        operation()
    about_jobs = [plan["Plan"] for plan in plans if "jobs_job" in plan["Query Text"]]
    return [node for plan in about_jobs for node in walk(plan)]


@contextmanager
def watched(note: Callable[[Diagnostic], None]) -> Iterator[None]:
    """Have the server tell the plan of every statement, and the driver prepare it at once."""
    raw = connection.connection
    threshold, raw.prepare_threshold = raw.prepare_threshold, 0
    raw.add_notice_handler(note)
    raw.execute(
        "LOAD 'auto_explain'; SET LOCAL auto_explain.log_format = json;"
        " SET LOCAL auto_explain.log_level = notice; SET LOCAL auto_explain.log_min_duration = 0"
    )
    yield
    raw.execute("SET LOCAL auto_explain.log_min_duration = -1")
    raw.remove_notice_handler(note)
    raw.prepare_threshold = threshold


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walk(child)


def ways(nodes: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """How the plans get at jobs: the kind of scan, and its index."""
    scans = [n for n in nodes if "Scan" in n["Node Type"] and n["Node Type"] != "Bitmap Heap Scan"]
    ours = [n for n in scans if n.get("Index Name") or n.get("Relation Name") == "jobs_job"]
    return {(n["Node Type"], n.get("Index Name", "")) for n in ours if not is_about_settings(n)}


def is_about_settings(node: dict[str, Any]) -> bool:
    settings = ("lane_", "line_", "task_limit_", "jobs_lane_", "jobs_line_", "jobs_tenant_")
    return node.get("Index Name", "").startswith(settings)


def test_look_at_the_lanes_reads_only_indexes(plans: Plans) -> None:
    assert {index for _, index in ways(plans["look"])} == {"job_ready", "job_running"}
    assert ("Index Only Scan", "job_ready") in ways(plans["look"])
    assert not any(node["Node Type"] == "Sort" for node in plans["look"])


def test_grant_reads_ready_jobs_in_the_order_of_their_index(plans: Plans) -> None:
    found = ways(plans["claim"])
    assert ("Index Scan", "job_ready") in found
    assert ("Tid Scan", "") in found
    assert {index for _, index in found} == {"job_ready", "job_running", ""}
    assert not any(node["Node Type"] == "Sort" for node in plans["claim"])


def test_grant_within_limits_counts_running_jobs_by_their_index(plans: Plans) -> None:
    found = ways(plans["claim at once"])
    assert ("Index Scan", "job_ready") in found
    assert ("Tid Scan", "") in found
    assert {index for _, index in found} == {"job_ready", "job_running", ""}


@pytest.mark.parametrize("operation", ["finish", "extend", "release"])
def test_batch_under_fences_goes_by_the_primary_key(plans: Plans, operation: str) -> None:
    assert ways(plans[operation]) == {("Index Scan", "jobs_job_pkey")}
    joins = {n["Node Type"] for n in plans[operation]} & {"Hash Join", "Merge Join"}
    assert not joins


def test_reaper_reads_running_jobs_only(plans: Plans) -> None:
    assert {index for _, index in ways(plans["reap"])} == {"job_running", "jobs_job_pkey"}


def test_promoter_reads_due_jobs_only(plans: Plans) -> None:
    assert {index for _, index in ways(plans["promote"])} == {"job_due", "jobs_job_pkey"}
    (due,) = [node for node in plans["promote"] if node.get("Index Name") == "job_due"]
    assert "run_at" in due["Index Cond"]


@pytest.mark.parametrize("operation", ["fail one", "cancel"])
def test_few_jobs_are_found_by_their_ids(plans: Plans, operation: str) -> None:
    assert {index for _, index in ways(plans[operation])} == {"jobs_job_pkey"}


def test_old_jobs_are_read_in_the_order_of_an_index(plans: Plans) -> None:
    assert ways(plans["find old"]) == {("Index Scan", "job_of_tenant")}
    assert not any(node["Node Type"] == "Sort" for node in plans["find old"])


def test_old_jobs_are_deleted_by_their_ids(plans: Plans) -> None:
    assert {kind for kind, _ in ways(plans["purge"])} <= {"Index Scan", "Index Only Scan"}
    assert not any(node["Node Type"] == "Sort" for node in plans["purge"])
